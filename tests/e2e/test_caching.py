"""The response cache as callers meet it: the official SDKs through Envoy, and gRPC."""

import urllib.request
from collections.abc import Iterator
from typing import Any

import anthropic
import grpc
import openai
import pytest

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tests.e2e.test_keys import ADMIN, anthropic_client, ask, make, openai_client
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

PRICE = 10_000_000
ON = {"x-ailb-cache": "on"}
Raw = tuple[str | None, Any]


@pytest.fixture(scope="module")
def caching(postgres_server: str) -> Iterator[Stack]:
    """A stack that asks for keys, and whose models have a price."""
    sql(postgres_server, "CREATE DATABASE caching OWNER ailb", role="postgres")
    settings = {"require_api_key": True, "admin_api_key": ADMIN, "unknown_price": PRICE}
    with Stack(database_dsn(postgres_server, "caching"), settings=settings) as running:
        yield running
    sql(postgres_server, "DROP DATABASE caching WITH (FORCE)", role="postgres")


def chat(question: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": question}]
    return {"model": "demo", "messages": messages, "temperature": 0, **fields}


def asked(stack: Stack, question: str) -> int:
    """How often an upstream was asked it."""
    return sum(question.encode() in received.body for received in stack.upstream.received)


def by_openai(client: openai.OpenAI, headers: Any = None, **fields: Any) -> Raw:
    """The header and the answer; of a stream, the list of its chunks."""
    raw = client.chat.completions.with_raw_response.create(**fields, extra_headers=headers)
    answer: Any = raw.parse()
    told = list(answer) if fields.get("stream") else answer
    return raw.headers.get("x-ailb-cache"), told


def by_anthropic(client: anthropic.Anthropic, headers: Any = None, **fields: Any) -> Raw:
    raw = client.messages.with_raw_response.create(**fields, extra_headers=headers)
    answer: Any = raw.parse()
    told = list(answer) if fields.get("stream") else answer
    return raw.headers.get("x-ailb-cache"), told


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_openai_sdk_is_answered_twice_and_an_upstream_asked_once(
    caching: Stack,
    stream: bool,  # noqa: FBT001
) -> None:
    _, secret = make(caching)
    question = f"openai {stream}"
    with openai_client(caching, secret) as client:
        first = by_openai(client, ON, **chat(question, stream=stream))
        again = by_openai(client, ON, **chat(question, stream=stream))
    assert (first[0], again[0]) == ("miss", "hit")
    assert again[1] == first[1]
    assert asked(caching, question) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_the_anthropic_sdk_likewise(caching: Stack, stream: bool) -> None:  # noqa: FBT001
    _, secret = make(caching)
    question = f"anthropic {stream}"
    with anthropic_client(caching, secret) as client:
        fields = chat(question, stream=stream, max_tokens=100)
        del fields["temperature"]
        # Without what says that it is repeatable it is not.
        assert by_anthropic(client, ON, **fields)[0] == "bypass"
        # The SDK has no parameter for it any more.
        cold: Any = {"temperature": 0}
        first = by_anthropic(client, ON, **fields, extra_body=cold)
        again = by_anthropic(client, ON, **fields, extra_body=cold)
    assert (first[0], again[0]) == ("miss", "hit")
    assert again[1] == first[1]
    assert asked(caching, question) == 2


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_grpc_likewise(caching: Stack, stream: bool) -> None:  # noqa: FBT001
    _, secret = make(caching)
    question = f"grpc {stream}"
    content = [chat_pb2.ContentPart(text=question)]
    message = chat_pb2.Message(role=chat_pb2.ROLE_USER, content=content)
    parameters = chat_pb2.ChatCompletionParameters(model="demo", messages=[message], seed=7)
    metadata = (("authorization", f"Bearer {secret}"), ("x-ailb-cache", "60"))

    def call(stub: chat_service_pb2_grpc.ChatServiceStub) -> Raw:
        if stream:
            asking = chat_service_pb2.StreamChatCompletionRequest(parameters=parameters)
            running: Any = stub.StreamChatCompletion(asking, metadata=metadata, timeout=10)
            answer: Any = list(running)
            return dict(running.initial_metadata()).get("x-ailb-cache"), answer
        request = chat_service_pb2.CreateChatCompletionRequest(parameters=parameters)
        answer, told = stub.CreateChatCompletion.with_call(request, metadata=metadata, timeout=10)
        header: Any = dict(told.initial_metadata()).get("x-ailb-cache")
        return header, answer

    with grpc.insecure_channel(caching.grpc) as channel:
        stub = chat_service_pb2_grpc.ChatServiceStub(channel)
        first, again = call(stub), call(stub)
    assert (first[0], again[0]) == ("miss", "hit")
    assert again[1] == first[1]
    assert asked(caching, question) == 1


def test_embeddings_and_completions_too(caching: Stack) -> None:
    _, secret = make(caching)
    with openai_client(caching, secret) as client:
        vectors = [
            client.embeddings.create(model="demo", input="vectors", extra_headers=ON)
            for _ in range(2)
        ]
        texts = [
            client.completions.create(model="demo", prompt="a text", seed=1, extra_headers=ON)
            for _ in range(2)
        ]
    assert vectors[0] == vectors[1]
    assert texts[0] == texts[1]
    assert asked(caching, "vectors") == asked(caching, "a text") == 1


def test_a_key_asks_for_all_its_requests(caching: Stack) -> None:
    key, secret = make(caching, cache_ttl_seconds=600)
    assert ask(caching, "GET", f"/admin/v1/keys/{key}")[1]["api_key"]["cache_ttl_seconds"] == 600
    with openai_client(caching, secret) as client:
        said = {
            "miss": by_openai(client, **chat("by key"))[0],
            "hit": by_openai(client, **chat("by key"))[0],
            "off": by_openai(client, {"x-ailb-cache": "off"}, **chat("by key"))[0],
            "chance": by_openai(client, **chat("by key", temperature=0.5))[0],
            "session": by_openai(client, {"x-session-id": "s"}, **chat("by key"))[0],
        }
        assert said == {
            "miss": "miss",
            "hit": "hit",
            "off": "bypass",
            "chance": "bypass",
            "session": "bypass",
        }
        no_store = {"x-ailb-cache": "no-store"}
        assert by_openai(client, no_store, **chat("unstored"))[0] == "miss"
        assert by_openai(client, no_store, **chat("unstored"))[0] == "miss"
        cleared = ask(caching, "PATCH", f"/admin/v1/keys/{key}", clear=["cache_ttl_seconds"])
        assert "cache_ttl_seconds" not in cleared[1]["api_key"]
        eventually(lambda: by_openai(client, **chat("by key"))[0] is None)
        with pytest.raises(openai.BadRequestError) as refused:
            by_openai(client, {"x-ailb-cache": "perhaps"}, **chat("by key"))
        assert refused.value.param == "x-ailb-cache"
    assert ask(caching, "POST", "/admin/v1/keys", name="x", cache_ttl_seconds=0)[0] == 400


def test_tenants_never_share_and_their_keys_do(caching: Stack) -> None:
    secrets = [make(caching, tenant=tenant)[1] for tenant in ("one", "two", "one")]
    told = []
    for secret in secrets:
        with openai_client(caching, secret) as client:
            told.append(by_openai(client, ON, **chat("whose is it"))[0])
    assert told == ["miss", "miss", "hit"]
    assert asked(caching, "whose is it") == 2


def test_a_key_gets_nothing_of_a_model_that_it_may_not_use(caching: Stack) -> None:
    _, may = make(caching)
    _, may_not = make(caching, allowed_models=["demo-slow"])
    with openai_client(caching, may) as client:
        by_openai(client, ON, **chat("a secret"))
    with openai_client(caching, may_not) as client, pytest.raises(openai.PermissionDeniedError):
        by_openai(client, ON, **chat("a secret"))


def test_a_hit_costs_nothing_and_counts_as_a_request(caching: Stack) -> None:
    limits = {"requests_per_minute": 3, "monthly_budget_usd": 1}
    key, secret = make(caching, limits=limits)
    with openai_client(caching, secret) as client:
        answers = [by_openai(client, ON, **chat("dear", max_tokens=50))[1] for _ in range(3)]
        # As it was recorded: what it took then.
        assert len({answer.usage.total_tokens for answer in answers}) == 1
        with pytest.raises(openai.RateLimitError):
            by_openai(client, ON, **chat("dear", max_tokens=50))
    rows = (
        "SELECT COALESCE(served_from, 'provider'), count(*), sum(cost_micro_dollars) > 0,"  # noqa: S608
        f" sum(prompt_tokens) > 0 FROM usage_ledger WHERE key_id = {key} GROUP BY 1 ORDER BY 1"
    )
    eventually(lambda: sql(caching.dsn, rows) == "cache|2|f|f\nprovider|1|t|t")
    money = f"SELECT round(spent_usd * 1e6) FROM budget_usage WHERE owner_id = {key}"  # noqa: S608
    cost = f"SELECT sum(cost_micro_dollars) FROM usage_ledger WHERE key_id = {key}"  # noqa: S608
    eventually(lambda: sql(caching.dsn, money) == sql(caching.dsn, cost))


@pytest.mark.parametrize(
    ("stream", "wish"),
    [
        (True, {"fault": "cut"}),
        (True, {"fault": "error_late"}),
        (False, {"status": 500}),
        (False, {"status": 400}),
    ],
)
def test_failures_are_not_kept(caching: Stack, stream: bool, wish: Any) -> None:  # noqa: FBT001
    _, secret = make(caching)
    question = "-".join(map(str, (*wish, *wish.values())))
    fields = chat(question, stream=stream, extra_body={"demo": wish})
    with openai_client(caching, secret) as client:
        for _ in range(2):
            with pytest.raises(openai.APIError):
                by_openai(client, ON, **fields)
    assert asked(caching, question) == 2


def test_metrics_tell_of_it(caching: Stack) -> None:
    _, secret = make(caching)
    with openai_client(caching, secret) as client:
        by_openai(client, ON, **chat("metrics"))
        by_openai(client, ON, **chat("metrics"))
    metrics = exposition(caching)
    assert 'ailb_cache_requests_total{result="hit"}' in metrics
    assert "ailb_cache_entries" in metrics
    assert 'model="none",outcome="ok",provider="none"' in metrics


def exposition(stack: Stack) -> str:
    request = urllib.request.Request(  # noqa: S310
        f"{stack.rest}/metrics", headers={"authorization": f"Bearer {ADMIN}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:  # noqa: S310
        return str(response.read().decode())
