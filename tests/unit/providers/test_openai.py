"""The provider over a scripted connection: what it yields, what it refuses, when it lets go."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamUnavailableError,
)
from ailb_server.providers.account import RequestTemplate
from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Upstream
from tests.unit.doubles import chat

_A = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
_USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7}}\n\n'
_DONE = b"data: [DONE]\n\n"
_COMPLETION = b'{"id":"c","choices":[{"message":{}}]}'


@dataclass
class FakeReply:
    """An answer that comes in these reads."""

    reads: Sequence[bytes]
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    provider: str = "p"
    is_told: bool = False
    tokens_seen: int = 0

    async def read(self) -> bytes:
        first, *self.reads = self.reads or [b""]
        return first

    async def read_all(self) -> bytes:
        return b"".join(self.reads)

    def quotable(self, told: bytes) -> bytes:
        return told

    def token_seen(self) -> None:
        self.tokens_seen += 1

    def told(self) -> None:
        self.is_told = True


@dataclass
class FakeUpstream:
    """Gives the reply, and tells whether it was let go."""

    reply: FakeReply
    sent: list[tuple[URL, bytes]] = field(default_factory=list)
    released: bool = False

    @asynccontextmanager
    async def post(self, url: URL, _: CIMultiDict[str], body: bytes) -> AsyncIterator[FakeReply]:
        self.sent.append((url, body))
        try:
            yield self.reply
        finally:
            self.released = True


class FakeAccount:
    """Knows where to post to."""

    def template(self, path: str) -> RequestTemplate:
        return RequestTemplate(URL(f"http://upstream/v1{path}"), CIMultiDict())


async def _answer(upstream: FakeUpstream, **request: Any) -> list[ChatChunk]:
    provider = OpenAIProvider("p", cast("OpenAIAccount", FakeAccount()), cast("Upstream", upstream))
    async with provider.open(chat(**request), "m") as answer:
        return [chunk async for chunk in answer.chunks]


async def _streamed(*reads: bytes) -> tuple[list[ChatChunk], FakeUpstream]:
    upstream = FakeUpstream(FakeReply(reads))
    return await _answer(upstream, stream=True), upstream


async def test_posts_to_chat_completions() -> None:
    upstream = FakeUpstream(FakeReply([_COMPLETION]))
    chunks = await _answer(upstream)
    assert [str(url) for url, _ in upstream.sent] == ["http://upstream/v1/chat/completions"]
    assert [chunk.wire for chunk in chunks] == [_COMPLETION]
    assert upstream.released


async def test_relays_a_stream_per_read() -> None:
    chunks, upstream = await _streamed(_A + _A, _A[:9], _A[9:], _DONE)
    assert [chunk.wire for chunk in chunks] == [_A + _A, _A, _DONE]
    assert upstream.reply.is_told
    assert upstream.reply.tokens_seen == 2


async def test_usage_in_a_read_of_its_own_is_metered_though_hidden() -> None:
    chunks, _ = await _streamed(_A, _USAGE, _DONE)
    assert b"".join(chunk.wire for chunk in chunks) == _A + _DONE
    assert [chunk.usage for chunk in chunks if chunk.usage] == [TokenUsage(prompt=7)]


async def test_comments_before_the_first_event_are_no_answer_yet() -> None:
    chunks, _ = await _streamed(b": queued\n\n", b": queued\n\n" + _A, b": more\n\n", _DONE)
    assert [chunk.wire for chunk in chunks] == [b": queued\n\n" * 2 + _A, b": more\n\n", _DONE]


async def test_reads_nothing_after_done() -> None:
    chunks, upstream = await _streamed(_A + _DONE, _A)
    assert [chunk.wire for chunk in chunks] == [_A + _DONE]
    assert list(upstream.reply.reads) == [_A]


async def test_done_may_lack_its_blank_line() -> None:
    chunks, _ = await _streamed(_A, _DONE.strip())
    assert chunks[-1].wire == _DONE


@pytest.mark.parametrize(
    "reads",
    [
        [],
        [b": queued\n\n"],
        [_DONE],
        [_A],
        [_A, _A[:20]],
        [b"data: {]\n\n"],
        [b'data: {"error":{"code":"overloaded"}}\n\n'],
        [_A, b'data: {"error":{"message":"x"}}\n\n', _DONE],
        [b"<html>oops</html>"],
    ],
)
async def test_a_stream_that_does_not_end_well_is_unavailable(reads: list[bytes]) -> None:
    upstream = FakeUpstream(FakeReply(reads))
    with pytest.raises(UpstreamUnavailableError):
        await _answer(upstream, stream=True)
    assert upstream.released


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"error":{"message":"x"}}'])
async def test_a_bad_completion_is_unavailable(body: bytes) -> None:
    with pytest.raises(UpstreamUnavailableError):
        await _answer(FakeUpstream(FakeReply([body])))


@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_status_is_an_error(*, stream: bool) -> None:
    upstream = FakeUpstream(FakeReply([b"{}"], 429, {"retry-after": "7"}))
    with pytest.raises(UpstreamError) as raised:
        await _answer(upstream, stream=stream)
    assert isinstance(raised.value, UpstreamRateLimitedError)
    assert raised.value.retry_after_s == 7
    assert upstream.released
