"""Keys as callers use them: the official SDKs, gRPC, curl, and `ailb keys`."""

import json
import logging
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import grpc
import openai
import pytest

from ailb.v1 import model_service_pb2, model_service_pb2_grpc
from tests.support.command import Ailb
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

ADMIN = "an-administrators-own-secret"
CHAT: Any = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def locked(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys."""
    sql(postgres_server, "CREATE DATABASE locked OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "locked")
    settings = {"require_api_key": True, "admin_api_key": ADMIN}
    with Stack(dsn, settings=settings) as running:
        yield running
    sql(postgres_server, "DROP DATABASE locked WITH (FORCE)", role="postgres")


def ask(
    stack: Stack, verb: str, path: str, key: str | None = ADMIN, **body: Any
) -> tuple[int, Any]:
    """The status and the JSON of an answer."""
    headers = {"content-type": "application/json"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    data = json.dumps(body).encode() if verb in {"POST", "PATCH"} else None
    request = urllib.request.Request(  # noqa: S310
        stack.rest + path, data, headers, method=verb
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def make(stack: Stack, **fields: Any) -> tuple[int, str]:
    status, made = ask(stack, "POST", "/admin/v1/keys", name="test", **fields)
    assert status == 200, made
    return made["api_key"]["id"], made["secret"]


def openai_client(stack: Stack, key: str) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{stack.rest}/v1", api_key=key, max_retries=0)


def anthropic_client(stack: Stack, key: str) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=stack.rest, api_key=key, max_retries=0)


def test_the_openai_sdk_sends_its_key(locked: Stack) -> None:
    _, secret = make(locked, tenant="acme")
    with openai_client(locked, secret) as client:
        assert client.chat.completions.create(**CHAT).choices
        assert list(client.chat.completions.create(**CHAT, stream=True))
        assert client.models.list().data
    with openai_client(locked, "sk-wrong") as client:
        with pytest.raises(openai.AuthenticationError) as refused:
            client.chat.completions.create(**CHAT)
        assert refused.value.code == "invalid_api_key"
        with pytest.raises(openai.AuthenticationError):
            client.chat.completions.create(**CHAT, stream=True)


def test_the_anthropic_sdk_sends_its_key(locked: Stack) -> None:
    _, secret = make(locked)
    message: Any = {**CHAT, "max_tokens": 10}
    with anthropic_client(locked, secret) as client:
        assert client.messages.create(**message).content
    with anthropic.Anthropic(base_url=locked.rest, auth_token=secret, api_key=None) as client:
        assert client.messages.create(**message).content
    with anthropic_client(locked, "sk-ant-wrong") as client:
        with pytest.raises(anthropic.AuthenticationError) as refused:
            client.messages.create(**message)
        body: Any = refused.value.body
        assert body["error"]["type"] == "authentication_error"


def test_grpc_sends_it_as_metadata(locked: Stack) -> None:
    _, secret = make(locked)
    with grpc.insecure_channel(locked.grpc) as channel:
        list_models = model_service_pb2_grpc.ModelServiceStub(channel).ListModels
        request = model_service_pb2.ListModelsRequest()
        for key, value in (("authorization", f"Bearer {secret}"), ("x-api-key", secret)):
            assert list_models(request, metadata=((key, value),), timeout=10).data
        with pytest.raises(grpc.RpcError) as refused:
            list_models(request, timeout=10)
        error: Any = refused.value
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert any(key == "grpc-status-details-bin" for key, _ in error.trailing_metadata())


def test_a_key_is_for_its_models(locked: Stack) -> None:
    _, secret = make(locked, allowed_models=["demo-*"])
    with openai_client(locked, secret) as client:
        ids = {model.id for model in client.models.list()}
        assert "demo-echo" in ids
        assert "demo" not in ids
        assert client.chat.completions.create(**{**CHAT, "model": "demo-echo"}).choices
        for refused in (
            lambda: client.chat.completions.create(**CHAT),
            lambda: client.chat.completions.create(**CHAT, stream=True),
            lambda: client.embeddings.create(model="demo", input="x"),
            lambda: client.models.retrieve("demo"),
            lambda: client.chat.completions.create(**{**CHAT, "model": "no-such-model"}),
        ):
            with pytest.raises(openai.PermissionDeniedError) as told:
                refused()
            assert told.value.code == "permission_denied"
    with anthropic_client(locked, secret) as client:
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.create(**CHAT, max_tokens=10)
        with pytest.raises(anthropic.PermissionDeniedError):
            client.messages.count_tokens(**CHAT)


def test_a_user_does_not_operate(locked: Stack) -> None:
    key_id, secret = make(locked)
    for verb, path in (
        ("GET", "/admin/v1/keys"),
        ("POST", "/admin/v1/keys"),
        ("PATCH", f"/admin/v1/keys/{key_id}"),
        ("POST", f"/admin/v1/keys/{key_id}:rotate"),
        ("GET", "/metrics"),
        ("GET", "/api/routing/stats"),
    ):
        assert ask(locked, verb, path, secret)[0] == 403
        assert ask(locked, verb, path, None)[0] == 401
    assert ask(locked, "GET", "/healthz", None)[0] == 200


def test_a_module_key_opens_no_chat(locked: Stack) -> None:
    _, secret = make(locked, role="KEY_ROLE_MODULE")
    with openai_client(locked, secret) as client, pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(**CHAT)


def test_the_life_of_a_key(locked: Stack) -> None:
    key_id, first = make(locked, tenant="acme", limits={"monthly_budget_usd": 2.5})
    path = f"/admin/v1/keys/{key_id}"
    status, changed = ask(locked, "PATCH", path, limits={"requests_per_minute": 60})
    assert (status, changed["api_key"]["limits"]) == (
        200,
        {"requests_per_minute": 60, "monthly_budget_usd": 2.5},
    )
    _, rotated = ask(locked, "POST", f"{path}:rotate")
    for secret in (first, rotated["secret"]):
        assert ask(locked, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200
    _, rotated = ask(locked, "POST", f"{path}:rotate", grace_seconds=0)
    eventually(lambda: ask(locked, "GET", "/v1/models", first)[0] == 401)
    assert ask(locked, "GET", "/v1/models", rotated["secret"])[0] == 200
    assert ask(locked, "POST", f"{path}:revoke")[1]["api_key"]["state"] == "KEY_STATE_REVOKED"
    eventually(lambda: ask(locked, "GET", "/v1/models", rotated["secret"])[0] == 401)
    status, told = ask(locked, "GET", path)
    assert (status, told["api_key"]["tenant"]) == (200, "acme")
    assert "secret" not in told
    listed = ask(locked, "GET", "/admin/v1/keys?tenant=acme&show_revoked=true")[1]["api_keys"]
    assert key_id in {key["id"] for key in listed}


@pytest.mark.parametrize(
    ("verb", "path", "body", "status"),
    [
        ("POST", "/admin/v1/keys", {"name": ""}, 400),
        ("POST", "/admin/v1/keys", {"name": "x", "limits": {"max_concurrent": -1}}, 400),
        ("GET", "/admin/v1/keys?page_size=1001", {}, 400),
        ("GET", "/admin/v1/keys?page_token=x", {}, 400),
        ("GET", "/admin/v1/keys/999999", {}, 404),
        ("GET", "/admin/v1/keys/4294967295", {}, 404),
        ("GET", "/admin/v1/keys/x", {}, 400),
        ("DELETE", "/admin/v1/keys/1", {}, 405),
        ("GET", "/admin/v1/keys/1:revoke", {}, 405),
    ],
)
def test_what_is_wrong_is_told_in_openais_shape(
    locked: Stack, verb: str, path: str, body: dict[str, Any], status: int
) -> None:
    answered, told = ask(locked, verb, path, **body)
    assert answered == status
    assert set(told["error"]) == {"message", "type", "param", "code"}


def test_no_secret_is_in_any_sink(
    locked: Stack, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Marked secrets, through every way in and every fault that a key can meet."""
    caplog.set_level(logging.DEBUG)
    key_id, good = make(locked, tenant="canary")
    _, rotated = ask(locked, "POST", f"/admin/v1/keys/{key_id}:rotate")
    revoked_id, revoked = make(locked)
    ask(locked, "POST", f"/admin/v1/keys/{revoked_id}:revoke")
    secrets = [good, rotated["secret"], revoked, ADMIN, "sk-canary-0123456789", f"{good[:-1]}!"]
    answers = provoked(locked, secrets)
    locked.loop.run(flushed(locked))
    metrics = urllib.request.Request(  # noqa: S310
        f"{locked.rest}/metrics", headers={"authorization": f"Bearer {ADMIN}"}
    )
    with urllib.request.urlopen(metrics, timeout=10) as response:  # noqa: S310
        exposition = response.read().decode()
    assert "ailb_refused_keys_total" in exposition
    audit = sql(locked.dsn, "SELECT json_agg(a) FROM audit_log a")
    assert "canary" in audit
    database = audit + sql(locked.dsn, "SELECT json_agg(k) FROM api_keys k")
    upstream = repr(locked.upstream.received)
    out, err = capfd.readouterr()
    sinks = {
        "answers": answers,
        "metrics": exposition,
        "database": database,
        "upstream": upstream,
        "log": caplog.text,
        "output": out + err,
    }
    for secret in secrets:
        # A key may be recognised by how it begins, never opened by it.
        for name, text in sinks.items():
            assert secret[5:30] not in text, name


def provoked(stack: Stack, secrets: list[str]) -> str:
    """All answers to each secret, by each face."""
    paths = (
        ("GET", "/v1/models"),
        ("POST", "/v1/chat/completions"),
        ("GET", "/admin/v1/keys"),
        ("GET", "/api/routing/decisions"),
        ("POST", "/v1/messages"),
        ("GET", "/nowhere"),
    )
    return "".join(
        str(ask(stack, verb, path, secret, model="nope", messages=[]))
        for secret in secrets
        for verb, path in paths
    )


async def flushed(stack: Stack) -> None:
    """Writes the refusals that are counted now, instead of seconds later."""
    ground: Any = stack.gateway._ground
    await ground.access.gate.refused.__self__.log.flush()


def test_the_command_line(locked: Stack, tmp_path: Path) -> None:
    def run(*arguments: str, key: str = ADMIN) -> tuple[int, str]:
        environment = {"AILB_API_KEY": key}
        command = ("keys", *arguments, "--target", locked.grpc)
        with Ailb(*command, directory=tmp_path, environment=environment) as ailb:
            return ailb.ends(), ailb.output

    status, output = run(
        *("create", "from the shell", "--tenant", "shell", "--set", "model=demo*"),
        *("--set", "rpm=60", "--set", "note.team=infra"),
    )
    assert status == 0
    secret = output.splitlines()[-1]
    assert ask(locked, "POST", "/v1/chat/completions", secret, **CHAT)[0] == 200
    status, output = run("list", "--tenant", "shell")
    assert "from the shell" in output
    assert secret not in output
    number = output.splitlines()[1].split()[0]
    status, output = run("update", number, "--name", "renamed", "--clear", "model")
    assert json.loads(output)["name"] == "renamed"
    status, output = run("get", number)
    assert json.loads(output)["limits"] == {"requests_per_minute": 60}
    status, output = run("rotate", number, "--grace", "0")
    rotated = output.splitlines()[-1]
    assert run("revoke", number)[0] == 0
    eventually(lambda: ask(locked, "GET", "/v1/models", rotated)[0] == 401)
    status, output = run("list", key="sk-wrong")
    assert (status, output) == (1, "ailb: This is no API key of AILB.\n")
    assert run("create", "x", "--set", "rpm=many")[0] == 2
    assert run("get", "999999")[0] == 1
