"""What routing relies on, whichever the provider: the same answers, faults, ends and listings."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.errors import (
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import PooledProvider
from ailb_server.providers.upstream import Timeouts
from tests.contract.provider_rigs import (
    NAME,
    POOL_SIZE,
    RETRY_AFTER_S,
    RIGS,
    Closable,
    Rig,
    bounded_left,
    eventually,
)

_PATIENCE_S = 10.0
_SHORT_S = 0.3
_PATIENT = Timeouts(connect_s=5, first_token_s=20, between_tokens_s=20, total_s=20)
_HASTY = Timeouts(connect_s=5, first_token_s=_SHORT_S, between_tokens_s=20, total_s=20)
_HASTY_LATER = Timeouts(connect_s=5, first_token_s=60, between_tokens_s=_SHORT_S, total_s=60)
_BOTH_WAYS = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
_DONE = b"data: [DONE]\n\n"


@pytest.fixture(params=RIGS)
async def rig(request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    upstream = RIGS[request.param]()
    await upstream.start()
    yield upstream
    await upstream.stop()


@asynccontextmanager
async def _provider(rig: Rig, timeouts: Timeouts = _PATIENT) -> AsyncIterator[Closable]:
    provider = rig.provider(timeouts)
    try:
        yield provider
    finally:
        await provider.close()


def _request(rig: Rig, **fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "hi"}]
    return parse_chat_request(orjson.dumps({"model": rig.model, "messages": messages, **fields}))


async def _chunks(provider: Closable, rig: Rig, **fields: Any) -> list[ChatChunk]:
    async with provider.open(_request(rig, **fields), rig.model) as answer:
        return [chunk async for chunk in answer.chunks]


@dataclass
class Failure:
    """A failed call: what came before, and what was raised."""

    chunks: list[ChatChunk] = field(default_factory=list)
    error: UpstreamError | None = None

    @property
    def kind(self) -> type[UpstreamError] | None:
        """The error's class."""
        return type(self.error) if self.error else None


async def _failure(rig: Rig, timeouts: Timeouts = _PATIENT, **fields: Any) -> Failure:
    failure = Failure()
    # So that it is the short limit that ends a stall.
    async with asyncio.timeout(_PATIENCE_S), _provider(rig, timeouts) as provider:
        try:
            async with provider.open(_request(rig, **fields), rig.model) as answer:
                async for chunk in answer.chunks:
                    failure.chunks.append(chunk)
        except UpstreamError as error:
            failure.error = error
            assert error.facts["provider"] == NAME
    return failure


def _deltas(chunks: list[ChatChunk]) -> list[Any]:
    events = [event for chunk in chunks for event in chunk.events]
    return [choice["delta"] for event in events for choice in event["choices"]]


def _usages(chunks: list[ChatChunk]) -> list[TokenUsage]:
    return [chunk.usage for chunk in chunks if chunk.usage]


async def test_a_stream_says_what_a_whole_answer_says(rig: Rig) -> None:
    async with _provider(rig) as provider:
        (whole,) = await _chunks(provider, rig)
        streamed = await _chunks(provider, rig, stream=True)
    completion = ChatCompletion.model_validate_json(whole.wire)
    text = "".join(delta.get("content") or "" for delta in _deltas(streamed))
    assert text == completion.choices[0].message.content
    assert text
    assert whole.usage is not None
    assert _usages(streamed)[-1] == whole.usage
    assert whole.usage.prompt
    assert whole.usage.completion


async def test_a_whole_answer_is_one_chunk(rig: Rig) -> None:
    async with _provider(rig) as provider:
        (chunk,) = await _chunks(provider, rig)
    assert list(chunk.events) == [orjson.loads(chunk.wire)]
    (choice,) = ChatCompletion.model_validate_json(chunk.wire).choices
    assert (choice.message.role, choice.finish_reason) == ("assistant", "stop")


async def test_the_first_chunk_begins_the_answer(rig: Rig) -> None:
    async with (
        _provider(rig) as provider,
        provider.open(_request(rig, stream=True), rig.model) as answer,
    ):
        first = await anext(answer.chunks)
    assert first.events[0]["choices"][0]["delta"]["role"] == "assistant"
    assert first.wire.startswith(b"data: {")


@pytest.mark.parametrize("include_usage", [False, True])
async def test_a_stream_is_of_the_official_shape(rig: Rig, *, include_usage: bool) -> None:
    options = {"include_usage": include_usage}
    async with _provider(rig) as provider:
        chunks = await _chunks(provider, rig, stream=True, stream_options=options)
    wire = b"".join(chunk.wire for chunk in chunks)
    *events, end = wire.removesuffix(b"\n\n").split(b"\n\n")
    assert end + b"\n\n" == _DONE
    shown = [ChatCompletionChunk.model_validate_json(e.removeprefix(b"data: ")) for e in events]
    assert len({(event.id, event.model, event.created) for event in shown}) == 1
    reasons = [choice.finish_reason for event in shown for choice in event.choices]
    assert [reason for reason in reasons if reason] == ["stop"]
    assert (b'"usage"' in wire) is include_usage
    told = [event.usage for event in shown if event.usage]
    assert len(told) == include_usage
    assert len(_usages(chunks)) >= 1


async def test_calls_at_once_do_not_mix(rig: Rig) -> None:
    async with _provider(rig) as provider:
        calls = [_chunks(provider, rig, stream=bool(number % 2)) for number in range(20)]
        answers = await asyncio.gather(*calls)
    assert all(_usages(chunks) for chunks in answers)
    assert rig.calls == 20


_BEFORE = {
    "reset": UpstreamUnavailableError,
    "stall": UpstreamTimeoutError,
    "stall_headers": UpstreamTimeoutError,
    "malformed": UpstreamUnavailableError,
    "error_in_200": UpstreamUnavailableError,
    "empty": UpstreamUnavailableError,
    "html": UpstreamUnavailableError,
}
_LATE = {
    "stall_late": UpstreamTimeoutError,
    "cut": UpstreamUnavailableError,
    "eof": UpstreamUnavailableError,
    "malformed_late": UpstreamUnavailableError,
    "error_late": UpstreamUnavailableError,
}


@_BOTH_WAYS
@pytest.mark.parametrize("fault", _BEFORE)
async def test_a_fault_before_the_answer(rig: Rig, fault: str, *, stream: bool) -> None:
    rig.fail(fault, stream=stream)
    timeouts = _HASTY if fault.startswith("stall") else _PATIENT
    failure = await _failure(rig, timeouts, stream=stream)
    assert failure.kind is _BEFORE[fault]
    assert failure.chunks == []
    assert rig.calls == 1


@pytest.mark.parametrize("fault", _LATE)
async def test_a_fault_amid_a_stream(rig: Rig, fault: str) -> None:
    rig.fail(fault, stream=True)
    failure = await _failure(rig, _HASTY_LATER if fault == "stall_late" else _PATIENT, stream=True)
    assert failure.kind is _LATE[fault]
    assert _DONE not in b"".join(chunk.wire for chunk in failure.chunks)
    if fault == "stall_late":
        assert failure.chunks


@pytest.mark.parametrize("fault", _LATE)
async def test_half_of_a_whole_answer_is_none(rig: Rig, fault: str) -> None:
    rig.fail(fault, stream=False)
    failure = await _failure(rig, _HASTY if fault == "stall_late" else _PATIENT)
    assert failure.kind is _LATE[fault]
    assert failure.chunks == []


@_BOTH_WAYS
async def test_a_refused_connection(rig: Rig, *, stream: bool) -> None:
    await rig.stop()
    failure = await _failure(rig, stream=stream)
    assert failure.kind is UpstreamUnavailableError
    assert failure.chunks == []


_STATUSES = {
    400: UpstreamRejectedError,
    401: UpstreamMisconfiguredError,
    402: UpstreamMisconfiguredError,
    403: UpstreamMisconfiguredError,
    404: UpstreamModelMissingError,
    408: UpstreamTimeoutError,
    413: UpstreamRejectedError,
    429: UpstreamRateLimitedError,
    500: UpstreamUnavailableError,
    502: UpstreamUnavailableError,
    503: UpstreamUnavailableError,
    504: UpstreamTimeoutError,
    529: UpstreamUnavailableError,
}
_TELL_WHEN = frozenset({429, 500, 502, 503, 529})


@_BOTH_WAYS
@pytest.mark.parametrize("status", _STATUSES)
async def test_a_status_tells_whose_fault_it_is(rig: Rig, status: int, *, stream: bool) -> None:
    rig.answer_status(status)
    failure = await _failure(rig, stream=stream)
    assert failure.kind is _STATUSES[status]
    assert failure.error is not None
    assert failure.error.retry_after_s == (RETRY_AFTER_S if status in _TELL_WHEN else None)
    assert failure.chunks == []
    assert rig.calls == 1


async def test_the_callers_fault_comes_back_in_openais_shape(rig: Rig) -> None:
    rig.answer_status(400)
    failure = await _failure(rig)
    assert isinstance(failure.error, UpstreamRejectedError)
    assert not failure.error.failover
    reply = failure.error.reply
    assert (reply.status, reply.content_type.partition(";")[0]) == (400, "application/json")
    assert orjson.loads(reply.body)["error"].keys() == {"message", "type", "param", "code"}


@_BOTH_WAYS
async def test_a_prompt_too_long_is_for_a_larger_target(rig: Rig, *, stream: bool) -> None:
    if not rig.answer_too_long():
        pytest.skip("it cuts a long prompt instead of refusing it")
    failure = await _failure(rig, stream=stream)
    assert isinstance(failure.error, UpstreamContextLengthError)
    assert (failure.error.failover, failure.error.darkens) == (True, False)
    reply = failure.error.reply
    assert reply.status == 400
    assert orjson.loads(reply.body)["error"]["code"] == "context_length_exceeded"


async def test_leaving_amid_a_stream_ends_the_call_upstream(rig: Rig) -> None:
    rig.fail("stall_late", stream=True)
    async with _provider(rig) as provider:
        async with provider.open(_request(rig, stream=True), rig.model) as answer:
            await anext(answer.chunks)
        await bounded_left(rig, _PATIENCE_S)


@_BOTH_WAYS
@pytest.mark.parametrize("fault", ["stall", "stall_headers"])
async def test_a_cancelled_call_ends_upstream(rig: Rig, fault: str, *, stream: bool) -> None:
    rig.fail(fault, stream=stream)
    async with _provider(rig) as provider:
        call = asyncio.create_task(_chunks(provider, rig, stream=stream))
        await eventually(lambda: rig.calls > 0, _PATIENCE_S)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await bounded_left(rig, _PATIENCE_S)


async def test_room_is_told_until_every_connection_is_in_use(rig: Rig) -> None:
    rig.fail("stall", stream=True)
    async with _provider(rig) as provider:
        assert isinstance(provider, PooledProvider)
        calls = []
        for _ in range(POOL_SIZE):
            assert provider.has_room()
            calls.append(asyncio.create_task(_chunks(provider, rig, stream=True)))
            await eventually(lambda: rig.calls == len(calls), _PATIENCE_S)
        assert not provider.has_room()
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        assert provider.has_room()


async def test_a_listing_has_the_model(rig: Rig) -> None:
    async with _provider(rig) as provider:
        models = await provider.list_models()
    assert models is not None
    assert rig.model in models


_LISTING_STATUSES = {
    401: UpstreamMisconfiguredError,
    403: UpstreamMisconfiguredError,
    500: UpstreamUnavailableError,
    503: UpstreamUnavailableError,
}


@pytest.mark.parametrize("status", _LISTING_STATUSES)
async def test_a_listing_that_is_refused(rig: Rig, status: int) -> None:
    rig.answer_status(status)
    async with _provider(rig) as provider:
        with pytest.raises(UpstreamError) as raised:
            await provider.list_models()
    assert type(raised.value) is _LISTING_STATUSES[status]


@pytest.mark.parametrize("fault", ["reset", "cut", "empty", "html"])
async def test_a_listing_that_fails(rig: Rig, fault: str) -> None:
    rig.fail(fault, stream=False)
    async with _provider(rig) as provider:
        with pytest.raises(UpstreamUnavailableError):
            await provider.list_models()


async def test_a_listing_at_nobodys(rig: Rig) -> None:
    await rig.stop()
    async with _provider(rig) as provider:
        with pytest.raises(UpstreamUnavailableError):
            await provider.list_models()


async def test_close_leaves_nothing_behind(rig: Rig) -> None:
    before = asyncio.all_tasks()
    unused = rig.provider(_PATIENT)
    await unused.close()
    provider = rig.provider(_PATIENT)
    await provider.list_models()
    await _chunks(provider, rig, stream=True)
    await provider.close()
    await provider.close()
    await eventually(lambda: not asyncio.all_tasks() - before, _PATIENCE_S)
