"""OpenAI's REST face over the pipeline: bodies, headers, errors before and within an answer."""

from typing import Any, cast

import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.call import Call
from ailb_server.api.openai_service import OpenAIService
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatAnswer
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider, Observer, chunk
from tests.unit.pipeline.chats import pipeline_over
from tests.unit.routing.clock import Clock, run

_ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


async def _bodies(
    provider: FakeProvider, context: FakeContext, **fields: Any
) -> tuple[list[HttpBody], Observer]:
    observer = Observer()
    service = OpenAIService(pipeline_over(observer, provider))
    request = pb.CreateChatCompletionRequest()
    request.body.data = orjson.dumps({**_ASKED, **fields})
    answer = service.CreateChatCompletion(request, cast("Any", context))
    return [body async for body in answer], observer


async def test_a_completion_is_relayed_as_json() -> None:
    completion = ChatChunk(({},), b'{ "choices": [] }')
    with running(rest=True) as context:
        bodies, _ = await _bodies(FakeProvider(says=[completion]), context)
    assert [(body.content_type, body.data) for body in bodies] == [
        ("application/json", completion.wire)
    ]
    assert context.initial["x-request-id"] == "r-1"
    assert context.initial["x-ailb-provider"] == "p"
    assert context.initial["x-ailb-model"] == "m"
    assert float(context.initial["x-ailb-overhead-ms"]) >= 0
    assert "x-ailb-ignored-params" not in context.initial


async def test_a_stream_is_relayed_as_events() -> None:
    hidden = ChatChunk(({},), b"", TokenUsage(prompt=1))
    said = [chunk("1"), hidden, chunk("2")]
    with running(rest=True) as context:
        bodies, observer = await _bodies(FakeProvider(says=said), context, stream=True)
    assert {body.content_type for body in bodies} == {"text/event-stream; charset=utf-8"}
    assert [body.data for body in bodies] == [said[0].wire, said[2].wire]
    assert observer.records[0].usage == hidden.usage


async def test_ignored_parameters_are_told() -> None:
    provider = FakeProvider(says=[chunk()], ignored=("seed",))
    with running(rest=True) as context:
        await _bodies(provider, context, session_id="s", seed=1)
    assert context.initial["x-ailb-ignored-params"] == "seed,session_id"


async def test_an_error_before_the_answer_is_openais() -> None:
    limited = UpstreamRateLimitedError("Slow down.", retry_after_s=99.2)
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=limited), context, stream=True)
    assert context.initial == {"x-request-id": "r-1", "x-http-status": "429", "retry-after": "100"}
    assert body.content_type == "application/json"
    assert orjson.loads(body.data)["error"]["code"] == "upstream_rate_limited"


async def test_a_providers_refusal_is_relayed() -> None:
    reply = UpstreamReply(422, "application/json", b'{"error":{"message":"no",  "x":1e3}}')
    refusal = UpstreamRejectedError("no", reply, provider="p")
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=refusal), context)
    assert context.initial["x-http-status"] == "422"
    assert body.data == reply.body


async def test_an_error_within_the_answer_is_its_last_event() -> None:
    broken = UpstreamUnavailableError("The provider broke off the connection.")
    with running(rest=True) as context:
        bodies, observer = await _bodies(
            FakeProvider(says=[chunk("1"), broken]), context, stream=True
        )
    last = bodies[-1].data
    assert last.startswith(b'data: {"error":')
    assert last.endswith(b"\n\n")
    assert last.count(b"\n") == 2
    assert orjson.loads(last[6:])["error"]["code"] == "upstream_unavailable"
    assert observer.records[0].outcome == "upstream_unavailable"


async def test_a_bad_request_is_refused_before_the_pipeline() -> None:
    with running(rest=True) as context:
        (body,), observer = await _bodies(FakeProvider(), context, n="3")
    assert context.initial["x-http-status"] == "400"
    assert orjson.loads(body.data)["error"]["param"] == "n"
    assert observer.started == 0


async def test_a_fault_of_ours_is_500_and_says_nothing() -> None:
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=ValueError("secret")), context)
    assert context.initial["x-http-status"] == "500"
    assert b"secret" not in body.data
    assert b"r-1" in body.data


async def test_a_grpc_caller_gets_errors_as_grpc_has_them() -> None:
    with running(rest=False) as context, pytest.raises(UpstreamUnavailableError):
        await _bodies(FakeProvider(refusal=UpstreamUnavailableError("x")), context)
    assert context.initial == {}


def test_metadata_is_printable_whatever_a_model_is_called() -> None:
    answer = ChatAnswer(Target("p", "mödel\n😀\x7f"), 0.0012, cast("Any", None))
    metadata = dict(answer_metadata(Call("r", rest=True), answer))
    assert all(value.isascii() and value.isprintable() for value in metadata.values())
    assert metadata["x-ailb-overhead-ms"] == "1.20"


_BEAT = HttpBody(content_type="text/event-stream; charset=utf-8", data=b": keep-alive\n\n")
_BEAT_WIRE = _BEAT.SerializeToString()


def _timed(provider: FakeProvider, context: FakeContext, **fields: Any) -> list[bytes]:
    """The answer's bodies, in time that passes only as it must."""
    clock = Clock()
    bodies, _ = run(clock, _bodies(provider, context, **fields))
    return [body.data for body in bodies]


def test_a_stream_that_is_late_beats_before_its_first_event_and_between_events() -> None:
    provider = FakeProvider(says=[40.0, chunk("1"), 16.0, chunk("2")])
    with running(rest=True) as context:
        told = _timed(provider, context, stream=True)
    assert told == [chunk("1").wire, chunk("2").wire]
    assert context.written == [_BEAT_WIRE] * 3
    assert context.initial == {"x-request-id": "r-1"}, "who answers is not known yet"


def test_a_stream_in_time_is_told_with_its_headers_and_without_beats() -> None:
    with running(rest=True) as context:
        _timed(FakeProvider(says=[14.0, chunk("1"), 14.0, chunk("2")]), context, stream=True)
    assert context.written == []
    assert context.initial["x-ailb-provider"] == "p"


def test_failover_goes_on_behind_the_beats() -> None:
    late = UpstreamTimeoutError("late")
    provider = FakeProvider(says=[20.0, late])
    other = FakeProvider("q", says=[20.0, chunk("q")])
    clock, observer = Clock(), Observer()
    service = OpenAIService(pipeline_over(observer, provider, other))
    request = pb.CreateChatCompletionRequest()
    request.body.data = orjson.dumps({**_ASKED, "stream": True})

    async def main(context: FakeContext) -> list[HttpBody]:
        answer = service.CreateChatCompletion(request, cast("Any", context))
        return [body async for body in answer]

    with running(rest=True) as context:
        bodies = run(clock, main(context))
    assert [body.data for body in bodies] == [chunk("q").wire]
    assert context.written == [_BEAT_WIRE] * 2
    assert observer.records[0].outcome == "ok"


@pytest.mark.parametrize("fault", [UpstreamTimeoutError("late"), RuntimeError("a bug")])
def test_a_failure_behind_a_beat_is_the_streams_last_event(fault: Exception) -> None:
    with running(rest=True) as context:
        (last,) = _timed(FakeProvider(says=[20.0, fault]), context, stream=True)
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"]
    assert b"[DONE]" not in last
    assert context.initial == {"x-request-id": "r-1"}


def test_an_answer_that_is_no_stream_has_no_beats() -> None:
    with running(rest=True) as context:
        (body,) = _timed(FakeProvider(says=[40.0, ChatChunk(({},), b"{}")]), context)
    assert (body, context.written) == (b"{}", [])


def test_a_grpc_caller_of_a_late_stream_gets_its_error_as_grpc_has_it() -> None:
    provider = FakeProvider(says=[20.0, UpstreamTimeoutError("late")])
    with running(rest=False) as context, pytest.raises(UpstreamTimeoutError):
        _timed(provider, context, stream=True)
    assert context.written == [_BEAT_WIRE]


async def test_what_is_refused_while_it_is_read_is_counted() -> None:
    refused: list[str] = []
    with running(rest=True, refused=refused.append) as context:
        await _bodies(FakeProvider(), context, n="3")
    assert refused == ["invalid_request"]
    with running(rest=True, refused=refused.append) as context:
        await _bodies(FakeProvider(refusal=UpstreamUnavailableError("x")), context)
    assert refused == ["invalid_request"], "what a stage has seen is counted there"
