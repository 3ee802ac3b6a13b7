"""Anthropic's REST face over the pipeline: bodies, headers, errors before and within an answer."""

from typing import Any, cast

import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from ailb.anthropic.v1 import anthropic_service_pb2 as pb
from ailb_server.api.anthropic_service import AnthropicService
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import UpstreamRateLimitedError, UpstreamUnavailableError
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider, Observer, chunk
from tests.unit.pipeline.chats import pipeline_over
from tests.unit.routing.clock import Clock, run

_ASKED: dict[str, Any] = {
    "model": "m",
    "max_tokens": 9,
    "messages": [{"role": "user", "content": "hi"}],
}


async def _bodies(
    provider: FakeProvider, context: FakeContext, **fields: Any
) -> tuple[list[HttpBody], Observer]:
    observer = Observer()
    service = AnthropicService(pipeline_over(observer, provider), cast("Any", None))
    request = pb.CreateMessageRequest()
    request.body.data = orjson.dumps({**_ASKED, **fields})
    answer = service.CreateMessage(request, cast("Any", context))
    return [body async for body in answer], observer


async def test_a_relayed_answer_stays_as_it_is() -> None:
    said = [ChatChunk(({},), wire, wire_format="anthropic") for wire in (b"a", b"", b"b")]
    with running(rest=True) as context:
        bodies, _ = await _bodies(FakeProvider(says=said), context, stream=True, top_n=1)
    assert [body.data for body in bodies] == [b"a", b"b"]
    assert {body.content_type for body in bodies} == {"text/event-stream; charset=utf-8"}
    assert "x-ailb-ignored-params" not in context.initial
    assert context.initial["request-id"] == context.initial["x-request-id"] == "r-1"


async def test_a_translated_answer_tells_what_was_left_out() -> None:
    completion = {"id": "1", "model": "m", "choices": [{"message": {"content": "x"}}]}
    said = [ChatChunk((completion,), b"{}", TokenUsage(prompt=3, completion=1))]
    with running(rest=True) as context:
        (body,), _ = await _bodies(
            FakeProvider(says=said, ignored=("seed",)), context, top_n=1, session_id="s"
        )
    assert orjson.loads(body.data)["content"] == [{"type": "text", "text": "x"}]
    assert body.content_type == "application/json"
    assert context.initial["x-ailb-ignored-params"] == "seed,session_id,top_n"


async def test_an_error_before_the_answer_is_anthropics() -> None:
    limited = UpstreamRateLimitedError("Slow down.", retry_after_s=99.2)
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=limited), context, stream=True)
    assert context.initial == {
        "x-request-id": "r-1",
        "request-id": "r-1",
        "x-http-status": "429",
        "retry-after": "100",
    }
    assert body.content_type == "application/json"
    assert orjson.loads(body.data)["error"] == {"type": "rate_limit_error", "message": "Slow down."}


async def test_an_answer_that_cannot_be_told_is_an_error_with_its_status() -> None:
    with running(rest=True) as context:
        (body,), observer = await _bodies(FakeProvider(says=[ChatChunk(({},), b"{}")]), context)
    assert context.initial["x-http-status"] == "503"
    assert orjson.loads(body.data)["error"]["type"] == "api_error"
    assert observer.records[0].outcome == "upstream_unavailable"


async def test_an_error_within_the_answer_is_its_last_event() -> None:
    broken = UpstreamUnavailableError("The provider broke off the connection.")
    with running(rest=True) as context:
        bodies, _ = await _bodies(FakeProvider(says=[chunk("1"), broken]), context, stream=True)
    name, data, *rest = bodies[-1].data.split(b"\n")
    assert (name, rest) == (b"event: error", [b"", b""])
    assert orjson.loads(data.removeprefix(b"data: "))["error"]["type"] == "api_error"
    assert not any(b"message_stop" in body.data for body in bodies)


async def test_a_providers_own_error_event_is_the_last_one() -> None:
    broken = UpstreamUnavailableError("x")
    broken.event = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}\n\n'
    said: list[ChatChunk | Exception] = [
        ChatChunk(({},), b"a", wire_format="anthropic"),
        broken,
    ]
    with running(rest=True) as context:
        bodies, _ = await _bodies(FakeProvider(says=said), context, stream=True)
    assert [body.data for body in bodies] == [b"a", broken.event]


async def test_a_fault_of_ours_is_500_and_says_nothing() -> None:
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=ValueError("secret")), context)
    assert context.initial["x-http-status"] == "500"
    assert b"secret" not in body.data


async def test_a_grpc_caller_gets_errors_as_grpc_has_them() -> None:
    with running(rest=False) as context, pytest.raises(UpstreamUnavailableError):
        await _bodies(FakeProvider(refusal=UpstreamUnavailableError("x")), context)
    assert context.initial == {}


_PING = b'event: ping\ndata: {"type": "ping"}\n\n'
_RELAYED = [ChatChunk(({},), wire, wire_format="anthropic") for wire in (b"a", b"b")]
_TRANSLATED = [chunk("1"), chunk("2")]


@pytest.mark.parametrize("said", [_RELAYED, _TRANSLATED], ids=["relayed", "translated"])
def test_a_late_stream_pings_before_its_first_event_and_between_events(
    said: list[ChatChunk],
) -> None:
    provider = FakeProvider(says=[40.0, said[0], 16.0, said[1]])
    with running(rest=True) as context:
        bodies, _ = run(Clock(), _bodies(provider, context, stream=True))
    beats = [HttpBody.FromString(beat) for beat in context.written]
    assert [beat.data for beat in beats] == [_PING] * 3
    assert {beat.content_type for beat in beats} == {bodies[0].content_type}
    assert context.initial == {"x-request-id": "r-1", "request-id": "r-1"}
    assert not any(_PING in body.data for body in bodies)


def test_a_failure_behind_a_ping_is_the_streams_last_event() -> None:
    provider = FakeProvider(says=[20.0, UpstreamUnavailableError("gone")])
    with running(rest=True) as context:
        (body,), _ = run(Clock(), _bodies(provider, context, stream=True))
    assert body.data.startswith(b"event: error\n")
    assert len(context.written) == 1


async def test_what_is_refused_while_it_is_read_is_counted() -> None:
    refused: list[str] = []
    with running(rest=True, refused=refused.append) as context:
        await _bodies(FakeProvider(), context, stream="yes")
    assert context.initial["x-http-status"] == "400"
    assert refused == ["invalid_request"]
