"""However calls are cut, timed out or left, each answer is that of its own request."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator

import pytest
from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.errors import UpstreamError
from ailb_server.providers.upstream import Timeouts, Upstream
from tests.unit.providers.raw_server import listening

_CALLS = 1500
_AT_ONCE = 12


class Echo:
    """Answers with the body, perhaps many times over, framed somehow, in pieces, or breaks off."""

    def __init__(self) -> None:
        self._chance = random.Random(11)  # noqa: S311
        self._left: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await self._one(reader, writer):
                pass
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await reader.readexactly(length) * self._chance.choice((1, 3, 400))
        answer = self._framed(body)
        unframed = b"connection: close" in answer[:200]
        # Without a length nobody could tell that it was cut.
        if self._chance.random() < 0.05 and not unframed:
            writer.write(answer[: self._chance.randrange(len(answer))])
            return False
        for piece in self._cut(answer):
            writer.write(piece)
            await writer.drain()
            if self._chance.random() < 0.3:
                await asyncio.sleep(0)
        return not unframed

    def _framed(self, body: bytes) -> bytes:
        kind = self._chance.random()
        if kind < 0.4:
            return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body
        if kind < 0.5:
            return b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n" + body
        pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in self._cut(body))
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"

    def _cut(self, data: bytes) -> list[bytes]:
        places = sorted({0, len(data), *(self._chance.randrange(len(data)) for _ in range(3))})
        return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.fixture
async def url() -> AsyncIterator[URL]:
    async with listening(Echo().serve) as url:
        yield url


async def test_no_answer_is_anothers(url: URL) -> None:
    chance = random.Random(12)  # noqa: S311
    timeouts = Timeouts(connect_s=10, first_token_s=10, between_tokens_s=10, total_s=10)
    upstream = Upstream("p", timeouts=timeouts, pool_size=4)
    told: list[str] = []
    numbers = iter(range(_CALLS))

    async def caller() -> None:
        for number in numbers:
            own = b"<%d>" % number
            with contextlib.suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(chance.choice((0.0005, 0.002, 10, 10, 10))):
                    told.append(await _asked(upstream, url, own, chance.random()))

    await asyncio.gather(*(caller() for _ in range(_AT_ONCE)))
    assert upstream.running == 0
    assert set(told) == {"whole", "left"}
    assert told.count("whole") > _CALLS // 4
    await upstream.close()


async def _asked(upstream: Upstream, url: URL, own: bytes, how: float) -> str:
    async with upstream.post(url, CIMultiDict(), own) as reply:
        if how < 0.1:
            return "left"
        if how < 0.2:
            assert own.startswith((await reply.read())[: len(own)])
            return "left"
        body = await reply.read_all()
        assert set(body.split(b">")) <= {own[:-1], b""}
        return "whole"
