"""OpenAI's REST face over the pipeline: bodies, headers, errors before and within an answer."""

from typing import Any, cast

import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.edge import Call
from ailb_server.api.openai_service import OpenAIService
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatAnswer
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider, Observer, chunk
from tests.unit.pipeline.chats import pipeline_over

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
    limited = UpstreamRateLimitedError("Slow down.", retry_after_s=1.2)
    with running(rest=True) as context:
        (body,), _ = await _bodies(FakeProvider(refusal=limited), context, stream=True)
    assert context.initial == {"x-request-id": "r-1", "x-http-status": "429", "retry-after": "2"}
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
