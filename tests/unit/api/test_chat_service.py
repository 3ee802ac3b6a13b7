"""The typed face over the pipeline."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import orjson
import pytest

from ailb.v1 import chat_pb2
from ailb.v1 import chat_service_pb2 as pb
from ailb_server.api.chat_service import ChatService
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider, Observer, chunk
from tests.unit.pipeline.chats import pipeline_over

_PARAMETERS = chat_pb2.ChatCompletionParameters(
    model="m",
    messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="hi")])],
)
_COMPLETION = {
    "id": "c",
    "choices": [{"index": 0, "message": {"content": "Hi!"}}],
    "usage": {"prompt_tokens": 3},
}


class _Run:
    """The service over one provider."""

    def __init__(self, provider: FakeProvider) -> None:
        self.provider = provider
        self.observer = Observer()
        self.service = ChatService(pipeline_over(self.observer, provider))

    async def create(
        self, context: FakeContext, parameters: chat_pb2.ChatCompletionParameters = _PARAMETERS
    ) -> chat_pb2.ChatCompletion:
        request = pb.CreateChatCompletionRequest(parameters=parameters)
        answer = await self.service.CreateChatCompletion(request, cast("Any", context))
        return answer.completion

    def stream(self, context: FakeContext) -> AsyncIterator[pb.StreamChatCompletionResponse]:
        request = pb.StreamChatCompletionRequest(parameters=_PARAMETERS)
        return self.service.StreamChatCompletion(request, cast("Any", context))


def _texts(chunks: list[chat_pb2.ChatCompletionChunk]) -> list[str]:
    return [chunk.choices[0].delta.content[0].text for chunk in chunks]


async def test_a_completion() -> None:
    said = ChatChunk((_COMPLETION,), orjson.dumps(_COMPLETION), TokenUsage(prompt=3))
    run = _Run(FakeProvider(says=[said]))
    with running() as context:
        completion = await run.create(context)
    assert completion.id == "c"
    assert completion.choices[0].message.content[0].text == "Hi!"
    assert completion.usage.prompt_tokens == 3
    assert context.initial["x-request-id"] == "r-1"
    assert context.initial["x-ailb-provider"] == "p"
    assert context.initial["x-ailb-model"] == "m"
    assert "x-ailb-overhead-ms" in context.initial
    assert [record.outcome for record in run.observer.records] == ["ok"]


async def test_a_stream() -> None:
    usage = TokenUsage(prompt=3, completion=2)
    end = {**chunk("d").events[0], "usage": {"prompt_tokens": 3}}
    last = ChatChunk((*chunk("b").events, *chunk("c").events, end), b"", usage)
    run = _Run(FakeProvider(says=[chunk("a"), last]))
    with running() as context:
        chunks = [answer.chunk async for answer in run.stream(context)]
    assert _texts(chunks) == ["a", "b", "c", "d"]
    assert [chunk.HasField("usage") for chunk in chunks] == [False, False, False, True]
    assert chunks[-1].usage.total_tokens == 5
    assert context.initial["x-ailb-model"] == "m"
    assert run.observer.records[0].stream


async def test_a_bad_request_is_refused_before_the_pipeline() -> None:
    run = _Run(FakeProvider())
    with running() as context, pytest.raises(InvalidRequestError) as raised:
        await run.create(context, chat_pb2.ChatCompletionParameters(model="m"))
    assert raised.value.facts["param"] == "messages"
    assert run.observer.started == 0


async def test_an_error_is_raised_for_the_edge() -> None:
    run = _Run(FakeProvider(refusal=UpstreamTimeoutError("late")))
    with running() as context, pytest.raises(UpstreamTimeoutError):
        await run.create(context)
    with running() as context, pytest.raises(UpstreamTimeoutError):
        await anext(run.stream(context))
    assert context.initial == {}


async def test_a_stream_that_breaks_off_tells_what_it_had_and_then_the_error() -> None:
    run = _Run(FakeProvider(says=[chunk("a"), UpstreamUnavailableError("cut")]))
    chunks = []
    with running() as context, pytest.raises(UpstreamUnavailableError):
        async for answer in run.stream(context):
            chunks.append(answer.chunk)  # noqa: PERF401 - what came before the error counts
    assert _texts(chunks) == ["a"]
    assert run.observer.records[0].outcome == "upstream_unavailable"


async def test_a_caller_that_leaves_ends_the_upstream_call() -> None:
    run = _Run(FakeProvider(says=[chunk("a"), None]))
    with running() as context:
        answers = cast("Any", run.stream(context))
        await anext(answers)
        waiting = asyncio.create_task(anext(answers))
        await run.provider.waiting.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert run.provider.log == ["p open m", "p closed"]
    assert run.observer.records[0].outcome == "cancelled"
