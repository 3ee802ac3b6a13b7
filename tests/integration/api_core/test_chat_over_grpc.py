"""Typed chats over a real connection: answers, errors, refusals, callers that leave."""

import asyncio
from typing import Any

import grpc
import orjson
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ailb.openai.v1 import openai_service_pb2
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.pipeline.record import ChatRecord
from tests.integration.api_core.conftest import (
    MAX_CALLS,
    Served,
    create_request,
    error_info,
    stream_request,
)
from tests.unit.doubles import chunk

_BOUND_S = 20


async def test_a_completion(served: Served) -> None:
    answer = {"id": "c", "choices": [{"message": {"role": "assistant", "content": "Hi!"}}]}
    served.provider.says = [ChatChunk((answer,), orjson.dumps(answer), TokenUsage(prompt=3))]
    call = served.chat.CreateChatCompletion(
        create_request(), timeout=_BOUND_S, metadata=(("x-request-id", "mine"),)
    )
    response = await call
    assert response.completion.choices[0].message.content[0].text == "Hi!"
    metadata = dict(await call.initial_metadata())
    assert (metadata["x-request-id"], metadata["x-ailb-provider"]) == ("mine", "p")
    assert (metadata["x-ailb-model"], "x-ailb-overhead-ms" in metadata) == ("m", True)


async def test_a_stream_that_breaks_ends_with_the_status(served: Served) -> None:
    served.provider.says = [chunk("a"), UpstreamUnavailableError("cut", provider="p")]
    texts = []
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for response in served.chat.StreamChatCompletion(stream_request(), timeout=_BOUND_S):
            texts.append(response.chunk.choices[0].delta.content[0].text)  # noqa: PERF401
    assert texts == ["a"]
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    assert error_info(raised.value).reason == "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize("message", ["漢" * 5000, "😀" * 5000, '"\\\n' * 5000, "a" * 50_000])
async def test_a_long_message_does_not_hide_the_error(served: Served, message: str) -> None:
    reply = UpstreamReply(422, "", b"")
    served.provider.refusal = UpstreamRejectedError(message, reply, provider="p")
    for rest in ((), (("x-envoy-original-path", "/"),)):
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await served.chat.CreateChatCompletion(
                create_request(), timeout=_BOUND_S, metadata=rest
            )
        assert raised.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert dict(error_info(raised.value).metadata) == {"provider": "p", "status": "422"}
        assert message.startswith(raised.value.details() or "none")


async def test_an_unknown_model_of_odd_characters_is_not_found(served: Served) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.chat.CreateChatCompletion(create_request("😀\n" * 120), timeout=_BOUND_S)
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    assert error_info(raised.value).metadata["param"] == "model"


async def test_when_to_come_back_is_told(served: Served) -> None:
    served.provider.refusal = UpstreamRateLimitedError("slow", retry_after_s=7, provider="p")
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.chat.CreateChatCompletion(create_request(), timeout=_BOUND_S)
    assert dict(raised.value.trailing_metadata() or ())["retry-after"] == "7"


async def test_an_overloaded_server_refuses_chats_and_admits_health(served: Served) -> None:
    served.provider.says = [chunk("a"), None]
    running = [
        served.chat.StreamChatCompletion(stream_request(), timeout=_BOUND_S)
        for _ in range(MAX_CALLS)
    ]
    for call in running:
        assert await call.read()
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.chat.CreateChatCompletion(create_request(), timeout=_BOUND_S)
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert error_info(raised.value).reason == "OVERLOADED"
    checker: Any = health_pb2_grpc.HealthStub(served.channel)
    health = await checker.Check(health_pb2.HealthCheckRequest(), timeout=_BOUND_S)
    assert health.status == health_pb2.HealthCheckResponse.SERVING
    for call in running:
        call.cancel()


async def _ended(served: Served) -> ChatRecord:
    async with asyncio.timeout(_BOUND_S):
        await served.observer.finished.wait()
    (record,) = served.observer.records
    return record


async def test_a_caller_that_leaves_ends_the_upstream_call(served: Served) -> None:
    served.provider.says = [chunk("a"), None]
    call = served.chat.StreamChatCompletion(stream_request(), timeout=_BOUND_S)
    assert await call.read()
    call.cancel()
    assert (await _ended(served)).outcome == "cancelled"
    assert served.provider.log == ["p open m", "p closed"]


async def test_a_deadline_ends_the_upstream_call(served: Served) -> None:
    served.provider.says = [None]
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.chat.CreateChatCompletion(create_request(), timeout=0.2)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert (await _ended(served)).outcome == "cancelled"
    assert served.provider.log == ["p open m", "p closed"]


async def test_a_rest_caller_that_leaves_ends_the_upstream_call(served: Served) -> None:
    served.provider.says = [chunk("a"), None]
    request = openai_service_pb2.CreateChatCompletionRequest()
    request.body.data = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}'
    call = served.openai.CreateChatCompletion(
        request, timeout=_BOUND_S, metadata=(("x-envoy-original-path", "/v1/chat/completions"),)
    )
    assert await call.read()
    call.cancel()
    assert (await _ended(served)).outcome == "cancelled"
    assert served.provider.log == ["p open m", "p closed"]
