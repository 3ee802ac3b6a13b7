"""The usage ledger as its readers meet it: after chats through Envoy and gRPC, over REST and the
command line; and a server that is killed under load."""

import csv
import io
import json
import signal
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import grpc
import openai
import pytest

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tests.e2e.test_keys import ADMIN, anthropic_client, ask, make, openai_client
from tests.support.command import Ailb
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually, free_port

CHAT: Any = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def metered(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys."""
    sql(postgres_server, "CREATE DATABASE metered OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "metered")
    settings = {"require_api_key": True, "admin_api_key": ADMIN}
    with Stack(dsn, settings=settings) as running:
        yield running
    sql(postgres_server, "DROP DATABASE metered WITH (FORCE)", role="postgres")


def usage(stack: Stack, query: str, key: str = ADMIN, path: str = "/admin/v1/usage") -> Any:
    status, told = ask(stack, "GET", f"{path}?{query}", key)
    assert status == 200, told
    return told


def requests(stack: Stack, tenant: str) -> int:
    return int(usage(stack, f"tenant={tenant}")["total"]["requests"])


def every_face(stack: Stack, secret: str) -> list[int]:
    """A chat by each; what each told of prompt tokens."""
    told: list[int] = []
    with openai_client(stack, secret) as client:
        whole = client.chat.completions.create(**CHAT, extra_headers={"X-Session-ID": "s-1"})
        assert whole.usage is not None
        told.append(whole.usage.prompt_tokens)
        # Its caller wants no usage, and it is counted all the same.
        assert list(client.chat.completions.create(**CHAT, stream=True))
        told.append(whole.usage.prompt_tokens)
        told.append(client.embeddings.create(model="demo", input="hello").usage.prompt_tokens)
    with anthropic_client(stack, secret) as other:
        message = other.messages.create(**CHAT, max_tokens=100)
        assert isinstance(message, anthropic.types.Message)
        told.append(message.usage.input_tokens)
    content = [chat_pb2.ContentPart(text="hello")]
    parameters = chat_pb2.ChatCompletionParameters(
        model="demo", messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)]
    )
    with grpc.insecure_channel(stack.grpc) as channel:
        answer = chat_service_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(
            chat_service_pb2.CreateChatCompletionRequest(parameters=parameters),
            metadata=(("authorization", f"Bearer {secret}"),),
        )
    told.append(answer.completion.usage.prompt_tokens)
    return told


def test_each_chat_is_a_row(metered: Stack) -> None:
    _, secret = make(metered, tenant="acme")
    told = every_face(metered, secret)
    with openai_client(metered, secret) as client, pytest.raises(openai.NotFoundError):
        client.chat.completions.create(**{**CHAT, "model": "nope"})
    assert ask(metered, "POST", "/v1/chat/completions", "sk-wrong", **CHAT)[0] == 401
    eventually(lambda: requests(metered, "acme") >= len(told) + 1)
    total = usage(metered, "tenant=acme")["total"]
    assert total["requests"] == len(told) + 1
    assert total["failed_requests"] == 1
    assert total["prompt_tokens"] == sum(told)
    assert sql(metered.dsn, "SELECT sum(prompt_tokens) FROM usage_ledger") == str(sum(told))
    sums = usage(metered, "tenant=acme&group_by=outcome&group_by=provider")["sums"]
    assert {(one["outcome"], one["provider"]) for one in sums} == {
        ("ok", "openai"),
        ("model_not_found", ""),
    }
    assert usage(metered, "tenant=acme&session=s-1")["total"]["requests"] == 1
    rows = sql(
        metered.dsn,
        "SELECT DISTINCT operation, finish_reason, model_answered <> '' FROM usage_ledger"
        " WHERE outcome = 'ok' ORDER BY 1",
    )
    assert rows.splitlines() == ["chat|stop|t", "embedding||t"]


def test_a_caller_reads_its_own(metered: Stack) -> None:
    key_id, secret = make(metered, tenant="own")
    _, colleague = make(metered, tenant="own")
    for one in (secret, secret, colleague):
        assert ask(metered, "POST", "/v1/chat/completions", one, **CHAT)[0] == 200
    eventually(lambda: requests(metered, "own") == 3)
    mine = usage(metered, "group_by=key", secret, "/v1/usage")
    assert [(one["key_id"], one["requests"]) for one in mine["sums"]] == [(key_id, 2)]
    assert mine["total"]["requests"] == 2
    assert usage(metered, "whole_tenant=true", secret, "/v1/usage")["total"]["requests"] == 3
    assert ask(metered, "GET", "/admin/v1/usage", secret)[0] == 403
    assert ask(metered, "GET", "/admin/v1/usage:export", secret)[0] == 403
    assert ask(metered, "GET", "/v1/usage", None)[0] == 401


def test_times_are_told_as_rfc_3339(metered: Stack) -> None:
    _, secret = make(metered, tenant="times")
    assert ask(metered, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200
    eventually(lambda: requests(metered, "times") == 1)
    for query, count in (
        ("start_time=2020-01-01T00:00:00Z", 1),
        ("start_time=2020-01-01T00:00:00Z&end_time=2020-02-01T00:00:00Z", 0),
        ("start_time=2020-01-01T01:00:00.5%2B01:00&group_by=day", 1),
    ):
        assert usage(metered, f"tenant=times&{query}")["total"]["requests"] == count


@pytest.mark.parametrize(
    "query", ["group_by=colour", "start_time=yesterday", "page_size=-1", "page_token=x"]
)
@pytest.mark.parametrize("path", ["/v1/usage", "/admin/v1/usage"])
def test_what_is_wrong_is_told_in_openais_shape(metered: Stack, path: str, query: str) -> None:
    status, told = ask(metered, "GET", f"{path}?{query}")
    assert status == 400
    assert set(told["error"]) == {"message", "type", "param", "code"}


def test_an_export_over_rest_is_a_file(metered: Stack) -> None:
    _, secret = make(metered, tenant="export")
    assert ask(metered, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200
    eventually(lambda: requests(metered, "export") == 1)
    # More than a page of it.
    sql(
        metered.dsn,
        "INSERT INTO usage_ledger SELECT at, gen_random_uuid(), tenant_id, key_id, 'copy',"
        " session_id, operation, streamed, provider, model_asked, model_sent, model_answered,"
        " prompt_tokens, cached_tokens, cache_write_tokens, completion_tokens, reasoning_tokens,"
        " estimated, cost_micro_dollars, latency_ms, first_token_ms, outcome, finish_reason,"
        " instance"
        " FROM usage_ledger, generate_series(1, 2500)"
        " WHERE tenant_id = (SELECT id FROM tenants WHERE name = 'export')",
    )
    request = urllib.request.Request(  # noqa: S310
        f"{metered.rest}/admin/v1/usage:export?tenant=export",
        headers={"authorization": f"Bearer {ADMIN}"},
    )
    with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310
        assert response.headers["content-type"] == "text/csv; charset=utf-8"
        text = response.read().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert len(rows) == 2501
    assert {row["tenant"] for row in rows} == {"export"}
    refused = ask(metered, "GET", "/admin/v1/usage:export?start_time=2030-01-01T00:00:00Z")
    assert refused[0] == 400
    assert refused[1]["error"]["param"] == "end_time"


def test_the_command_line(metered: Stack, tmp_path: Path) -> None:
    def run(*arguments: str) -> tuple[int, str]:
        command = ("usage", "--target", metered.grpc, *arguments)
        environment = {"AILB_API_KEY": ADMIN, "PYTHONIOENCODING": "utf-8"}
        with Ailb(*command, directory=tmp_path, environment=environment) as ailb:
            return ailb.ends(), ailb.output

    _, secret = make(metered, tenant="shell")
    assert ask(metered, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200
    eventually(lambda: requests(metered, "shell") == 1)
    status, output = run("--by", "model", "--where", "tenant=shell")
    assert (status, output.splitlines()[1].split()[:2]) == (0, ["demo", "1"])
    assert "█" in output
    status, output = run("--json", "--where", "tenant=shell")
    assert json.loads(output.splitlines()[-1])["total"]["requests"] == 1
    assert run("--by", "colour")[0] == 1


class Load:
    """Callers that ask again and again, and count the answers whose end they have seen."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._ending = threading.Event()
        self._counts = [0, 0, 0, 0]
        self._threads = [threading.Thread(target=self._call, args=(n,)) for n in range(4)]
        for thread in self._threads:
            thread.start()

    @property
    def answers(self) -> int:
        return sum(self._counts)

    def end(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _call(self, number: int) -> None:
        content = [chat_pb2.ContentPart(text="hello")]
        parameters = chat_pb2.ChatCompletionParameters(
            model="demo", messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)]
        )
        with grpc.insecure_channel(self._address) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            while not self._ending.is_set():
                try:
                    if number % 2:
                        stub.CreateChatCompletion(
                            chat_service_pb2.CreateChatCompletionRequest(parameters=parameters)
                        )
                    else:
                        list(
                            stub.StreamChatCompletion(
                                chat_service_pb2.StreamChatCompletionRequest(parameters=parameters)
                            )
                        )
                except grpc.RpcError:
                    return
                self._counts[number] += 1


def killed_under_load(ailb: Ailb, port: int) -> int:
    """How many answers came to their end."""
    load = Load(f"127.0.0.1:{port}")
    eventually(lambda: load.answers >= 150, 60)
    ailb.interrupt(signal.SIGKILL)
    load.end()
    return load.answers


def test_a_server_that_is_killed_loses_and_doubles_nothing(
    postgres_dsn: str, tmp_path: Path
) -> None:
    port = free_port()
    environment = {
        "DATABASE_URL": postgres_dsn,
        "GRPC_PORT": port,
        "DEMO_PROVIDER": "true",
        "REQUIRE_API_KEY": "false",
    }
    answers = 0
    for _ in range(2):
        with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
            ailb.until("serves on")
            answers += killed_under_load(ailb, port)
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        ailb.until("serves on")
        ailb.interrupt()
        assert ailb.ends() == 0
    count, distinct, ok = sql(
        postgres_dsn,
        "SELECT count(*), count(DISTINCT request_id), count(*) FILTER (WHERE outcome = 'ok')"
        " FROM usage_ledger",
    ).split("|")
    assert count == distinct == ok, "no row is doubled"
    # Those whose end was on its way when the server died.
    assert answers <= int(count) <= answers + 2 * 4
    assert [path.name for path in (tmp_path / "usage").rglob("*.journal")] == []
