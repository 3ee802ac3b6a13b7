"""A body whose end comes later than the end of what it says: nobody waits for it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from yarl import URL

from ailb_server.providers.upstream import Reply, Timeouts, Upstream
from tests.unit.providers.raw_server import listening

_LONG = Timeouts(connect_s=10, first_token_s=10, between_tokens_s=10, total_s=10)
_HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
_TOLD = _HEAD + b"6\r\n[DONE]\r\n"
_END = b"0\r\n\r\n"


@dataclass(slots=True)
class _Late:
    """Answers each request with _TOLD and, once `gate` is set, with `rest`."""

    rest: bytes = _END
    connections: int = 0
    url: URL = field(default_factory=URL)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(_TOLD)
                await self.gate.wait()
                writer.write(self.rest)
                await writer.drain()
        self.left.set()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["_Late"]:
        """Listens on a free port."""
        async with listening(self._serve) as url:
            self.url = url
            yield self


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream("p", timeouts=_LONG, pool_size=1)
    yield upstream
    await upstream.close()


async def _told(upstream: Upstream, server: _Late) -> Reply:
    async with upstream.get(server.url, {}) as reply:
        assert (await reply.read()).startswith(b"[DONE]")
        reply.told()
    return reply


async def test_a_connection_whose_body_ends_later_serves_again(upstream: Upstream) -> None:
    async with _Late().running() as server:
        await _told(upstream, server)
        assert upstream.running == 0
        server.gate.set()
        # With room for one connection, this waits for it.
        await _told(upstream, server)
        assert server.connections == 1


@pytest.mark.parametrize("rest", [b"", b"no chunk\r\n", b"5\r\nmore\n\r\n"])
async def test_a_body_that_does_not_end_is_given_up(upstream: Upstream, rest: bytes) -> None:
    async with _Late(rest).running() as server:
        await _told(upstream, server)
        server.gate.set()
        await _told(upstream, server)
        assert server.connections == 2
        await server.left.wait()


async def test_what_still_comes_is_nobodys_next_answer(upstream: Upstream) -> None:
    rest = b"".join(b"4\r\nmore\r\n" for _ in range(100_000)) + _END
    async with _Late(rest).running() as server:
        await _told(upstream, server)
        server.gate.set()
        await _told(upstream, server)
        assert server.connections == 1
