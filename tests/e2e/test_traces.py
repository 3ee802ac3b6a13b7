"""One trace from the caller, through Envoy and every stage, to the provider."""

from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.support.otlp_collector import Collector
from tests.support.stack import KEY, Stack, eventually

CHAT = "/v1/chat/completions"
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
SECRET = "the-very-secret-prompt"
ADMIN = "admin-key-of-the-traces-test-0123456789"
HEADERS = {"traceparent": f"00-{TRACE}-{CALLER}-01", "authorization": f"Bearer {ADMIN}"}


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture(scope="module")
def stack(postgres_server: str, collector: Collector) -> Iterator[Stack]:
    settings = {
        "otel_exporter_otlp_endpoint": collector.endpoint,
        "require_api_key": True,
        "admin_api_key": ADMIN,
        "module_id": "ailb-traced",
    }
    with Stack(postgres_server, upstreams=("bad", "good"), settings=settings) as started:
        yield started


def _body(**more: object) -> dict[str, Any]:
    return {"model": "demo", "messages": [{"role": "user", "content": SECRET}], **more}


async def _ask(stack: Stack, headers: dict[str, str], body: dict[str, Any]) -> int:
    async with (
        aiohttp.ClientSession(stack.rest, headers=headers) as http,
        http.post(CHAT, json=body) as response,
    ):
        await response.read()
        return response.status


def _of(spans: Sequence[Span], trace: str) -> list[Span]:
    return [span for span in spans if span.trace_id.hex() == trace]


def _root(spans: Sequence[Span]) -> Span | None:
    return next((span for span in spans if span.kind == Span.SPAN_KIND_SERVER), None)


def _attributes(span: Span) -> dict[str, Any]:
    told = {a.key: a.value for a in span.attributes}
    return {key: getattr(value, value.WhichOneof("value") or "") for key, value in told.items()}


def _named(spans: Sequence[Span], name: str) -> Span:
    (span,) = (span for span in spans if span.name == name)
    return span


async def test_a_chat_is_one_trace_of_all_its_stages(stack: Stack, collector: Collector) -> None:
    body = _body(stream=True, stream_options={"include_usage": True}, session_id="s-1")
    assert await _ask(stack, HEADERS, body) == 200
    spans = _of(collector.until(lambda told: _root(_of(told, TRACE)) is not None), TRACE)
    root = _root(spans)
    assert root is not None
    assert root.parent_span_id.hex() == CALLER
    assert root.name == "ailb.openai.v1.OpenAIService/CreateChatCompletion"
    children = {span.name for span in spans if span.parent_span_id == root.span_id}
    assert {"auth", "admission", "context", "routing", "chat demo", "settle"} <= children
    by_id = {span.span_id: span for span in spans}
    assert all(span.parent_span_id in by_id for span in spans if span is not root)
    context = _named(spans, "context")
    memory = _named(spans, "memory")
    assert memory.parent_span_id == context.span_id
    statements = [span for span in spans if "db.system.name" in _attributes(span)]
    assert any(span.parent_span_id == memory.span_id for span in statements)
    # Of the attempt, by the conventions for generative AI.
    attempt = _named(spans, "chat demo")
    told = _attributes(attempt)
    assert attempt.kind == Span.SPAN_KIND_CLIENT
    provider = told["gen_ai.provider.name"]
    assert told["gen_ai.operation.name"] == "chat"
    assert told["gen_ai.request.model"] == "demo"
    assert told["gen_ai.usage.input_tokens"] > 0
    assert told["gen_ai.usage.output_tokens"] > 0
    assert list(v.string_value for v in told["gen_ai.response.finish_reasons"].values) == ["stop"]
    assert told["server.address"] == "127.0.0.1"
    assert stack.upstreams[provider].url.endswith(f":{told['server.port']}/v1")
    # The provider goes on with it.
    sent = stack.upstreams[provider].last().headers["traceparent"]
    assert sent == f"00-{TRACE}-{attempt.span_id.hex()}-01"
    assert {"service.name": "ailb", "service.instance.id": "ailb-traced"}.items() <= (
        collector.resources[-1].items()
    )


async def test_a_failover_shows_both_attempts(stack: Stack, collector: Collector) -> None:
    trace = "11" * 16
    headers = {**HEADERS, "traceparent": f"00-{trace}-{CALLER}-01"}
    assert await _ask(stack, headers, _body(demo={"status": 500})) == 503
    spans = _of(collector.until(lambda told: _root(_of(told, trace)) is not None), trace)
    attempts = [span for span in spans if span.name == "chat demo"]
    assert len(attempts) == 2
    assert {span.status.code for span in attempts} == {Status.STATUS_CODE_ERROR}
    assert {_attributes(span)["error.type"] for span in attempts} == {"upstream_unavailable"}
    assert {_attributes(span)["gen_ai.provider.name"] for span in attempts} == {"bad", "good"}
    root = _root(spans)
    assert root is not None
    assert _attributes(root)["error.type"] == "upstream_unavailable"


async def test_who_asks_not_to_be_traced_is_not(stack: Stack, collector: Collector) -> None:
    unsampled, later = "22" * 16, "33" * 16
    for trace, flag in ((unsampled, "00"), (later, "01")):
        headers = {**HEADERS, "traceparent": f"00-{trace}-{CALLER}-{flag}"}
        assert await _ask(stack, headers, _body()) == 200
    told = collector.until(lambda told: _root(_of(told, later)) is not None)
    assert not _of(told, unsampled)
    sent = [u.last().headers.get("traceparent", "") for u in stack.upstreams.values() if u.received]
    assert any(later in header for header in sent)


async def test_a_trace_begins_here_if_the_caller_has_none(
    stack: Stack, collector: Collector
) -> None:
    before = len(collector.spans)
    headers = {"authorization": f"Bearer {ADMIN}", "traceparent": "nonsense"}
    assert await _ask(stack, headers, _body()) == 200
    told = collector.until(lambda told: _root(told[before:]) is not None)[before:]
    root = _root(told)
    assert root is not None
    assert root.parent_span_id == b""


async def test_no_span_holds_what_was_said_or_a_key(stack: Stack, collector: Collector) -> None:
    trace = "44" * 16
    headers = {**HEADERS, "traceparent": f"00-{trace}-{CALLER}-01"}
    asked = (
        # Its answer says what was asked, and the second time memory tells it again.
        (200, {"model": "demo-echo", "session_id": f"s-{trace}"}),
        (200, {"model": "demo-echo", "session_id": f"s-{trace}", "stream": True}),
        (404, {"model": SECRET}),
        (400, {"demo": {"status": 400, "error_body": SECRET}}),
        (503, {"demo": {"status": 500, "error_body": SECRET}}),
    )
    for status, more in asked:
        assert await _ask(stack, headers, _body(**more)) == status
    wanted = len(asked)
    collector.until(lambda told: len([s for s in _of(told, trace) if _root([s])]) == wanted)
    everything = b"".join(collector.raw)
    for word in (SECRET, ADMIN, KEY):
        assert word.encode() not in everything


async def test_a_collector_that_is_away_costs_no_request(postgres_server: str) -> None:
    settings = {"otel_exporter_otlp_endpoint": "http://127.0.0.1:9"}
    with Stack(postgres_server, settings=settings) as stack:
        for _ in range(5):
            assert await _ask(stack, {}, _body()) == 200
        lost = stack.gateway.metrics.registry.get_sample_value

        def told() -> bool:
            return (lost("ailb_spans_lost_total") or 0) > 0

        eventually(told, 20)
