"""A connection kept from before that closes as the next request is sent."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers.upstream import Timeouts, Upstream

_OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}"


class _Server:
    """Answers the first request of a connection, and to the next does what `then` says."""

    def __init__(self) -> None:
        self.answer = _OK
        self.then = b""
        self.requests = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            await self._one(reader)
            writer.write(self.answer)
            if self.answer == _OK:
                await self._one(reader)
                writer.write(self.then)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(4)
        self.requests += 1


@pytest.fixture
async def server() -> AsyncIterator[tuple[_Server, URL]]:
    behaviour = _Server()
    listening = await asyncio.start_server(behaviour.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    yield behaviour, URL(f"http://127.0.0.1:{port}/")
    listening.close()
    await listening.wait_closed()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    timeouts = Timeouts(connect_s=5, first_token_s=5, between_tokens_s=5, total_s=5)
    upstream = Upstream("p", timeouts=timeouts, pool_size=2)
    yield upstream
    await upstream.close()


async def _post(upstream: Upstream, url: URL) -> bytes:
    async with upstream.post(url, CIMultiDict(), b"body") as reply:
        return await reply.read_all()


async def test_it_may_be_sent_again(server: tuple[_Server, URL], upstream: Upstream) -> None:
    behaviour, url = server
    assert await _post(upstream, url) == b"{}"
    with pytest.raises(UpstreamUnavailableError) as raised:
        await _post(upstream, url)
    assert raised.value.resendable
    assert behaviour.requests == 2
    assert await _post(upstream, url) == b"{}"


async def test_not_if_an_answer_had_begun(server: tuple[_Server, URL], upstream: Upstream) -> None:
    behaviour, url = server
    behaviour.then = b"HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n{"
    await _post(upstream, url)
    with pytest.raises(UpstreamUnavailableError) as raised:
        await _post(upstream, url)
    assert not raised.value.resendable


async def test_not_if_the_connection_was_new(
    server: tuple[_Server, URL], upstream: Upstream
) -> None:
    behaviour, url = server
    behaviour.answer = b""
    with pytest.raises(UpstreamUnavailableError) as raised:
        await _post(upstream, url)
    assert not raised.value.resendable
