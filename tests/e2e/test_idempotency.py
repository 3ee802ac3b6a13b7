"""Idempotency-Key as callers meet it: two instances, the official SDKs through Envoy, gRPC."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import openai
import pytest

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tests.e2e.test_caching import chat
from tests.e2e.test_keys import ADMIN, anthropic_client, make, openai_client
from tests.support.postgres import database_dsn, sql
from tests.support.stack import Stack, eventually

PRICE = 10_000_000
CALLS = 50


@pytest.fixture(scope="module")
def pair(postgres_server: str) -> Iterator[Sequence[Stack]]:
    """Two instances on one database, each with an upstream and an Envoy of its own."""
    sql(postgres_server, "CREATE DATABASE once OWNER ailb", role="postgres")
    dsn = database_dsn(postgres_server, "once")
    settings = {
        "require_api_key": True,
        "admin_api_key": ADMIN,
        "unknown_price": PRICE,
        "idempotency_max_answer_kb": 64,
    }
    with (
        Stack(dsn, settings={**settings, "module_id": "one"}) as one,
        Stack(dsn, settings={**settings, "module_id": "two"}) as two,
    ):
        yield one, two
    sql(postgres_server, "DROP DATABASE once WITH (FORCE)", role="postgres")


def asked(pair: Sequence[Stack], question: str) -> int:
    """How often the upstreams were asked it."""
    received = [r for stack in pair for r in stack.upstream.received]
    return sum(question.encode() in one.body for one in received)


def once(key: str | None = None) -> dict[str, str]:
    return {"idempotency-key": key or uuid.uuid4().hex}


def billed(pair: Sequence[Stack], key_id: int) -> str:
    """Of a key: its rows that cost something, and those that were given again."""
    query = (
        "SELECT count(*) FILTER (WHERE cost_micro_dollars > 0),"  # noqa: S608
        " count(*) FILTER (WHERE served_from = 'replay' AND cost_micro_dollars = 0)"
        f" FROM usage_ledger WHERE key_id = {key_id}"
    )
    return sql(pair[0].dsn, query)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_fifty_at_once_on_two_instances_are_one_request(
    pair: Sequence[Stack],
    stream: bool,  # noqa: FBT001
) -> None:
    key_id, secret = make(pair[0])
    question, headers = f"fifty {stream}", once()
    slow: Any = {"demo": {"latency_ms": 200}}
    fields = chat(question, stream=stream, extra_headers=headers, extra_body=slow)
    start = threading.Barrier(CALLS)
    conflicts: list[openai.ConflictError] = []

    def call(number: int) -> Any:
        with openai_client(pair[number % 2], secret) as client:
            start.wait()
            while True:
                try:
                    answer: Any = client.chat.completions.create(**fields)
                    return list(answer) if stream else answer
                except openai.ConflictError as conflict:
                    conflicts.append(conflict)
                    threading.Event().wait(0.1)

    with ThreadPoolExecutor(CALLS) as pool:
        answers = list(pool.map(call, range(CALLS)))
    assert all(answer == answers[0] for answer in answers)
    assert asked(pair, question) == 1
    assert conflicts[0].code == "idempotency_conflict"
    assert conflicts[0].response.headers["retry-after"] == "1"
    eventually(lambda: billed(pair, key_id) == f"1|{CALLS - 1}")


def test_the_sdks_own_retry_gets_the_answer(pair: Sequence[Stack]) -> None:
    _, secret = make(pair[0])
    slow: Any = {"demo": {"latency_ms": 700}}
    fields = chat("retried", extra_headers=once(), extra_body=slow)

    def call(stack: Stack) -> Any:
        with openai.OpenAI(base_url=f"{stack.rest}/v1", api_key=secret) as client:
            return client.chat.completions.create(**fields)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(call, pair)
    assert first == second
    assert asked(pair, "retried") == 1


def by_openai(stack: Stack, secret: str, question: str, key: str, **fields: Any) -> Any:
    with openai_client(stack, secret) as client:
        raw = client.chat.completions.with_raw_response.create(
            **chat(question, extra_headers=once(key), **fields)
        )
        answer: Any = raw.parse()
        told = list(answer) if fields.get("stream") else answer
        return raw.headers.get("idempotent-replayed"), told


def by_completion(stack: Stack, secret: str, question: str, key: str) -> Any:
    with openai_client(stack, secret) as client:
        raw = client.completions.with_raw_response.create(
            model="demo", prompt=question, extra_headers=once(key)
        )
        return raw.headers.get("idempotent-replayed"), raw.parse()


def by_embedding(stack: Stack, secret: str, question: str, key: str) -> Any:
    with openai_client(stack, secret) as client:
        raw = client.embeddings.with_raw_response.create(
            model="demo", input=question, extra_headers=once(key)
        )
        return raw.headers.get("idempotent-replayed"), raw.parse()


def by_anthropic(stack: Stack, secret: str, question: str, key: str, **fields: Any) -> Any:
    asking: Any = {**chat(question), "max_tokens": 100, **fields}
    del asking["temperature"]
    with anthropic_client(stack, secret) as client:
        raw = client.messages.with_raw_response.create(**asking, extra_headers=once(key))
        answer: Any = raw.parse()
        told = list(answer) if fields.get("stream") else answer
        return raw.headers.get("idempotent-replayed"), told


def by_grpc(stack: Stack, secret: str, question: str, key: str) -> Any:
    message = chat_pb2.Message(
        role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text=question)]
    )
    parameters = chat_pb2.ChatCompletionParameters(model="demo", messages=[message])
    # Of a map, which has no order.
    parameters.metadata.update({str(n): "x" for n in range(20)})
    metadata = (("authorization", f"Bearer {secret}"), *once(key).items())
    with grpc.insecure_channel(stack.grpc) as channel:
        running: Any = chat_service_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(
            chat_service_pb2.StreamChatCompletionRequest(parameters=parameters),
            metadata=metadata,
            timeout=10,
        )
        answer = list(running)
        return dict(running.initial_metadata()).get("idempotent-replayed"), answer


def streamed(call: Callable[..., Any]) -> Callable[..., Any]:
    def streaming(*arguments: Any) -> Any:
        return call(*arguments, stream=True)

    return streaming


@pytest.mark.parametrize(
    "call",
    [
        by_openai,
        streamed(by_openai),
        by_completion,
        by_embedding,
        by_anthropic,
        streamed(by_anthropic),
        by_grpc,
    ],
    ids=["openai", "openai-stream", "completion", "embedding", "anthropic", "a-stream", "grpc"],
)
def test_each_face_is_answered_once(pair: Sequence[Stack], call: Callable[..., Any]) -> None:
    key_id, secret = make(pair[0])
    question = key = uuid.uuid4().hex
    replayed, first = call(pair[0], secret, question, key)
    assert replayed is None
    replayed, second = call(pair[1], secret, question, key)
    assert replayed == "true"
    assert second == first
    assert asked(pair, question) == 1
    eventually(lambda: billed(pair, key_id) == "1|1")


def test_another_body_is_refused_and_another_callers_key_is_another(
    pair: Sequence[Stack],
) -> None:
    _, mine = make(pair[0])
    _, other = make(pair[0])
    key = uuid.uuid4().hex
    by_openai(pair[0], mine, "mine", key)
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        by_openai(pair[1], mine, "another", key)
    assert refused.value.code == "idempotency_key_reused"
    assert refused.value.param == "idempotency-key"
    assert by_openai(pair[1], other, "another", key)[0] is None
    with pytest.raises(openai.BadRequestError):
        by_openai(pair[1], mine, "another", "x" * 256)


@pytest.mark.parametrize(
    ("stream", "wish"), [(False, {"status": 400}), (True, {"fault": "cut"})], ids=["400", "cut"]
)
def test_a_failure_leaves_the_key_to_the_retry(
    pair: Sequence[Stack],
    stream: bool,  # noqa: FBT001
    wish: Any,
) -> None:
    _, secret = make(pair[0])
    question = key = uuid.uuid4().hex
    for stack in pair:
        with pytest.raises(openai.APIError):
            by_openai(stack, secret, question, key, stream=stream, extra_body={"demo": wish})
    assert asked(pair, question) == 2


def test_a_caller_who_leaves_leaves_the_key_to_the_retry(pair: Sequence[Stack]) -> None:
    _, secret = make(pair[0])
    question = key = uuid.uuid4().hex
    fields = chat(
        question, stream=True, extra_headers=once(key), extra_body={"demo": {"chunk_ms": 100}}
    )
    with openai_client(pair[0], secret) as client:
        answer: Any = client.chat.completions.create(**fields)
        next(iter(answer))
        answer.close()

    def released() -> bool:
        with openai_client(pair[1], secret) as client:
            try:
                return bool(list(client.chat.completions.create(**fields)))
            except openai.ConflictError:
                return False

    eventually(released)
    assert asked(pair, question) == 2


def test_what_is_too_large_is_answered_but_not_again(pair: Sequence[Stack]) -> None:
    _, secret = make(pair[0])
    question = key = uuid.uuid4().hex
    long: Any = {"demo": {"words": 15000}}
    assert by_openai(pair[0], secret, question, key, extra_body=long)[1].choices
    with pytest.raises(openai.UnprocessableEntityError) as refused:
        by_openai(pair[1], secret, question, key, extra_body=long)
    assert refused.value.code == "idempotent_answer_not_kept"
    assert asked(pair, question) == 1


def test_no_prompt_is_in_the_table(pair: Sequence[Stack]) -> None:
    _, secret = make(pair[0])
    key = f"order-{uuid.uuid4().hex}"
    # The demo's answers quote, and answers are kept.
    by_embedding(pair[0], secret, "a secret prompt", key)
    rows = sql(pair[0].dsn, "SELECT encode(t::text::bytea, 'escape') FROM idempotent_requests t")
    assert rows
    for text in (key, "a secret prompt"):
        assert text not in rows
        assert text.encode().hex() not in rows
