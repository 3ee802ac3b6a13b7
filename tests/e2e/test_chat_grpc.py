"""Typed chats over gRPC, by the generated stubs: the same pipeline, the same errors."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status

from ailb.openai.v1 import openai_service_pb2, openai_service_pb2_grpc
from ailb.v1 import chat_pb2 as pb
from ailb.v1 import chat_service_pb2 as service
from ailb.v1 import chat_service_pb2_grpc, model_service_pb2, model_service_pb2_grpc
from ailb_server.demo.received import Outcome
from tests.support.stack import Stack, eventually


@pytest.fixture
async def channel(stack: Stack) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(stack.grpc) as opened:
        yield opened


def parameters(**demo: Any) -> pb.ChatCompletionParameters:
    """A small chat; `demo` says how the upstream behaves."""
    wishes = Struct()
    if demo:
        wishes.update({"demo": demo})
    text = pb.ContentPart(text="Say hello!")
    return pb.ChatCompletionParameters(
        model="demo",
        messages=[pb.Message(role=pb.ROLE_USER, content=[text])],
        additional_parameters=wishes,
    )


def details(error: grpc.aio.AioRpcError) -> tuple[ErrorInfo, float | None]:
    """The error's ErrorInfo, and RetryInfo's seconds."""
    trailing = error.trailing_metadata() or ()
    status = Status.FromString(dict(trailing)["grpc-status-details-bin"])
    assert status.code == error.code().value[0]
    info, retry = ErrorInfo(), RetryInfo()
    seconds = None
    for detail in status.details:
        detail.Unpack(info)
        if detail.Unpack(retry):
            seconds = retry.retry_delay.ToTimedelta().total_seconds()
    assert info.domain == "ailb"
    return info, seconds


async def test_an_answer_and_its_metadata(channel: grpc.aio.Channel) -> None:
    call = chat_service_pb2_grpc.ChatServiceStub(channel).CreateChatCompletion(
        service.CreateChatCompletionRequest(parameters=parameters()),
        metadata=(("x-request-id", "mine-1"),),
    )
    completion = (await call).completion
    metadata = dict(await call.initial_metadata())
    assert completion.choices[0].message.content[0].text.startswith("[demo]")
    assert completion.choices[0].finish_reason == pb.FINISH_REASON_STOP
    assert completion.usage.total_tokens > 0
    assert metadata["x-request-id"] == "mine-1"
    assert (metadata["x-ailb-provider"], metadata["x-ailb-model"]) == ("openai", "demo")
    assert float(metadata["x-ailb-overhead-ms"]) >= 0


async def test_a_stream_says_the_same(channel: grpc.aio.Channel) -> None:
    stub = chat_service_pb2_grpc.ChatServiceStub(channel)
    whole = (
        await stub.CreateChatCompletion(
            service.CreateChatCompletionRequest(parameters=parameters())
        )
    ).completion
    request = service.StreamChatCompletionRequest(parameters=parameters())
    chunks = [answer.chunk async for answer in stub.StreamChatCompletion(request)]
    text = "".join(
        part.text for c in chunks for choice in c.choices for part in choice.delta.content
    )
    assert text == whole.choices[0].message.content[0].text
    assert chunks[-1].usage == whole.usage


@pytest.mark.parametrize(
    ("demo", "code", "reason"),
    [
        ({"status": 422}, grpc.StatusCode.FAILED_PRECONDITION, "UPSTREAM_REJECTED"),
        ({"status": 429}, grpc.StatusCode.RESOURCE_EXHAUSTED, "UPSTREAM_RATE_LIMITED"),
        ({"status": 401}, grpc.StatusCode.INTERNAL, "UPSTREAM_MISCONFIGURED"),
        ({"status": 500}, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        ({"fault": "reset"}, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE"),
        ({"fault": "stall"}, grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT"),
    ],
)
@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_the_providers_faults(
    channel: grpc.aio.Channel,
    demo: dict[str, object],
    code: grpc.StatusCode,
    reason: str,
    method: str,
) -> None:
    wanted = parameters(**demo)
    if demo.get("status") == 429:
        # It cools its target, so it gets one that no other test asks.
        wanted.model = "demo-slow"
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await _call(channel, method, wanted)
    assert failure.value.code() is code
    assert details(failure.value)[0].reason == reason


async def _call(
    channel: grpc.aio.Channel, method: str, wanted: pb.ChatCompletionParameters
) -> None:
    stub = chat_service_pb2_grpc.ChatServiceStub(channel)
    if method == "CreateChatCompletion":
        await stub.CreateChatCompletion(service.CreateChatCompletionRequest(parameters=wanted))
        return
    request = service.StreamChatCompletionRequest(parameters=wanted)
    async for _ in stub.StreamChatCompletion(request):
        pass


async def test_retry_after_is_told(channel: grpc.aio.Channel) -> None:
    wanted = parameters(status=429, headers={"retry-after": "7"})
    wanted.model = "demo-error"
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await _call(channel, "CreateChatCompletion", wanted)
    assert details(failure.value)[1] == 7
    assert ("retry-after", "7") in tuple(failure.value.trailing_metadata() or ())


async def test_a_stream_that_breaks_ends_with_its_error(channel: grpc.aio.Channel) -> None:
    wanted = parameters(fault="cut", after=3, chunk_ms=20)
    request = service.StreamChatCompletionRequest(parameters=wanted)
    stub = chat_service_pb2_grpc.ChatServiceStub(channel)
    seen = 0
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async for answer in stub.StreamChatCompletion(request):
            seen += len(answer.chunk.choices)
    assert seen
    assert details(failure.value)[0].reason == "UPSTREAM_UNAVAILABLE"


@pytest.mark.parametrize("method", ["CreateChatCompletion", "StreamChatCompletion"])
async def test_a_callers_fault_is_the_callers(channel: grpc.aio.Channel, method: str) -> None:
    wanted = pb.ChatCompletionParameters(model="gpt-9", messages=parameters().messages)
    with pytest.raises(grpc.aio.AioRpcError) as unknown:
        await _call(channel, method, wanted)
    assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
    assert details(unknown.value)[0].metadata["param"] == "model"
    with pytest.raises(grpc.aio.AioRpcError) as empty:
        await _call(channel, method, pb.ChatCompletionParameters(model="demo"))
    assert empty.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(empty.value)[0].reason == "INVALID_REQUEST"


async def test_errors_of_the_openai_service_are_grpc_errors_to_grpc_callers(
    channel: grpc.aio.Channel,
) -> None:
    stub = openai_service_pb2_grpc.OpenAIServiceStub(channel)
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        async for _ in stub.CreateChatCompletion(openai_service_pb2.CreateChatCompletionRequest()):
            pass
    assert failure.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(failure.value)[0].reason == "INVALID_REQUEST"


async def test_models(channel: grpc.aio.Channel) -> None:
    stub = model_service_pb2_grpc.ModelServiceStub(channel)
    listed = await stub.ListModels(model_service_pb2.ListModelsRequest())
    assert "demo" in [model.id for model in listed.data]
    with pytest.raises(grpc.aio.AioRpcError) as failure:
        await stub.GetModel(model_service_pb2.GetModelRequest(id="gpt-9"))
    assert details(failure.value)[0].reason == "MODEL_NOT_FOUND"


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_caller_that_leaves_cancels_the_upstream(
    stack: Stack, channel: grpc.aio.Channel, how: str
) -> None:
    before = len(stack.upstream.received)
    wanted = parameters(words=5_000, chunk_ms=50)
    call = chat_service_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(
        service.StreamChatCompletionRequest(parameters=wanted),
        timeout=0.5 if how == "deadline" else None,
    )
    await asyncio.to_thread(eventually, lambda: len(stack.upstream.received) > before)
    if how == "cancel":
        call.cancel()
    outcome = await asyncio.to_thread(stack.outcome, stack.upstream.last())
    assert outcome is Outcome.ABORTED
