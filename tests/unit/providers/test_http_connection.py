"""What comes over a provider's connection, and what is made of it."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from multidict import CIMultiDict

from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.providers.http_connection import MAX_HEAD_BYTES
from ailb_server.providers.upstream import Timeouts, Upstream
from tests.unit.providers.raw_server import RawServer

_LONG = Timeouts(connect_s=10, first_token_s=10, between_tokens_s=10, total_s=10)
_SHORT = Timeouts(connect_s=10, first_token_s=0.05, between_tokens_s=0.05, total_s=10)
_OK = b"HTTP/1.1 200 OK\r\n"
_TWO = _OK + b"content-length: 2\r\n\r\n{}"


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    upstream = Upstream("p", timeouts=_LONG, pool_size=2)
    yield upstream
    await upstream.close()


async def ask(upstream: Upstream, server: RawServer, body: bytes = b"hello") -> tuple[int, bytes]:
    async with upstream.post(server.url, CIMultiDict({"x-a": "1"}), body) as reply:
        return reply.status, await reply.read_all()


@pytest.mark.parametrize(
    "answer",
    [
        _TWO,
        _OK + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;ext=1\r\n}\r\n0\r\n\r\n",
        _OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nx-trailer: 1\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + _TWO,
        b"HTTP/1.1 200 OK\ncontent-length: 2\n\n{}",
    ],
    ids=["length", "chunked", "trailers", "interim", "bare-line-feeds"],
)
async def test_each_framing_gives_the_body_and_a_connection_that_serves_again(
    upstream: Upstream, answer: bytes
) -> None:
    async with RawServer([answer, answer], stays=True).running() as server:
        assert [await ask(upstream, server) for _ in range(2)] == [(200, b"{}")] * 2
        assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.0 200 OK\r\n\r\n{}",
        _OK + b"connection: close\r\n\r\n{}",
        _OK + b"connection: close\r\ncontent-length: 2\r\n\r\n{}",
    ],
)
async def test_what_ends_with_its_connection_is_whole(upstream: Upstream, answer: bytes) -> None:
    async with RawServer([answer]).running() as server:
        assert [await ask(upstream, server) for _ in range(2)] == [(200, b"{}")] * 2
        assert server.connections == 2


async def test_the_request_is_as_http_writes_it(upstream: Upstream) -> None:
    async with RawServer([_TWO]).running() as server:
        await ask(upstream, server, b"\x00" * 100_000)
        host = f"{server.url.host}:{server.url.port}"
    assert server.heads == [
        f"POST /v1/chat?a=b HTTP/1.1\r\nhost: {host}\r\nx-a: 1\r\ncontent-length: 100000\r\n\r\n"
        "".encode()
    ]


@pytest.mark.parametrize("value", ["a\r\nx-injected: 1", "a\n", "ключ"])
async def test_a_header_stays_within_its_line(upstream: Upstream, value: str) -> None:
    async with RawServer([_TWO]).running() as server:
        with pytest.raises(UpstreamMisconfiguredError) as raised:
            async with upstream.post(server.url, CIMultiDict({"x-a": value}), b""):
                pass
        assert value not in str(raised.value)
        assert server.connections == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        _OK,
        _OK + b"content-length: 3\r\n\r\n{}",
        _OK + b"transfer-encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        _OK + b"x: " + b"y" * 16 * MAX_HEAD_BYTES + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
    ],
    ids=["nothing", "half-head", "short", "cut-chunks", "not-http", "long-head", "upgrade"],
)
async def test_what_is_no_answer_is_the_providers_failure(
    upstream: Upstream, answer: bytes
) -> None:
    async with RawServer([answer]).running() as server:
        with pytest.raises(UpstreamUnavailableError) as raised:
            await ask(upstream, server)
        assert not raised.value.resendable
        assert upstream.has_room()


async def test_what_nobody_asked_for_is_never_an_answer(upstream: Upstream) -> None:
    surplus = _OK + b"content-length: 6\r\n\r\nstolen"
    async with RawServer([_TWO + surplus, surplus], stays=True).running() as server:
        assert [await ask(upstream, server) for _ in range(3)] == [(200, b"{}")] * 3
        assert server.connections == 3


@pytest.mark.parametrize("before", [b"", _OK, _OK + b"content-length: 9\r\n\r\n{"])
async def test_a_provider_that_hangs_is_late(before: bytes) -> None:
    upstream = Upstream("p", timeouts=_SHORT, pool_size=1)
    async with RawServer([before], stays=True).running() as server:
        with pytest.raises(UpstreamTimeoutError):
            await ask(upstream, server)
        await asyncio.wait_for(server.left.wait(), 10)
    await upstream.close()


async def test_each_token_gives_new_time() -> None:
    timeouts = Timeouts(connect_s=10, first_token_s=1, between_tokens_s=60, total_s=60)
    upstream = Upstream("p", timeouts=timeouts, pool_size=1)
    first = _OK + b"content-length: 2\r\n\r\n{"
    async with RawServer([first, b""], stays=True).running() as server:
        async with upstream.post(server.url, CIMultiDict(), b"") as reply:
            assert await reply.read() == b"{"
            reply.token_seen()
            waiting = asyncio.create_task(reply.read())
            done, _ = await asyncio.wait([waiting], timeout=1.2)
            assert not done
            waiting.cancel()
        await asyncio.wait_for(server.left.wait(), 10)
    await upstream.close()


async def test_leaving_early_ends_the_connection(upstream: Upstream) -> None:
    async with RawServer([_OK + b"content-length: 9\r\n\r\n{"], stays=True).running() as server:
        async with upstream.post(server.url, CIMultiDict(), b"") as reply:
            assert await reply.read() == b"{"
        await asyncio.wait_for(server.left.wait(), 10)
        assert upstream.has_room()


async def test_what_somebody_left_unread_is_nobody_elses_answer(upstream: Upstream) -> None:
    secret = _OK + b"content-length: 6\r\n\r\nsecret"
    async with RawServer([secret, _TWO], stays=True).running() as server:
        # All of it has come with its head, and none is read.
        async with upstream.post(server.url, CIMultiDict(), b"") as reply:
            assert reply.status == 200
        server.answers = [_TWO]
        assert await ask(upstream, server) == (200, b"{}")
        assert server.connections == 2


async def test_who_reads_slowly_is_not_sent_everything(upstream: Upstream) -> None:
    """The sender waits: what is held is what was read ahead and what the sockets hold."""
    size = 64 * 1024 * 1024
    head = _OK + f"content-length: {size}\r\n\r\n".encode()
    async with RawServer([head + b"x" * size], stays=True).running() as server:
        async with upstream.post(server.url, CIMultiDict(), b"") as reply:
            await asyncio.sleep(0.2)
            first = await reply.read()
            assert len(first) < 4 * 1024 * 1024
            total = len(first)
            while data := await reply.read():
                total += len(data)
        assert total == size


async def test_beyond_the_pool_they_wait_in_turn(upstream: Upstream) -> None:
    async with RawServer([_TWO] * 10, stays=True).running() as server:
        server.gate.clear()
        asked = [asyncio.create_task(ask(upstream, server)) for _ in range(6)]
        await asyncio.wait_for(server.second.wait(), 10)
        assert not upstream.has_room()
        asked[3].cancel()
        server.gate.set()
        told: Sequence[object] = await asyncio.gather(*asked, return_exceptions=True)
        assert [isinstance(one, asyncio.CancelledError) for one in told].count(True) == 1
        assert [one for one in told if one == (200, b"{}")] == [(200, b"{}")] * 5
        assert server.connections == 2


async def test_who_waits_for_a_connection_is_told_in_time() -> None:
    upstream = Upstream("p", timeouts=_SHORT, pool_size=1)
    async with RawServer([_TWO], stays=True).running() as server:
        server.gate.clear()
        told = await asyncio.gather(
            ask(upstream, server), ask(upstream, server), return_exceptions=True
        )
        assert [type(one) for one in told] == [UpstreamTimeoutError] * 2
        server.gate.set()
        upstream.timeouts = Timeouts(10, 10, 10, 10)
        assert await ask(upstream, server) == (200, b"{}")
    await upstream.close()


async def test_nobody_listens(upstream: Upstream) -> None:
    async with RawServer([_TWO]).running() as server:
        pass
    with pytest.raises(UpstreamError, match="could not be reached"):
        await ask(upstream, server)
    assert upstream.has_room()


async def test_who_does_not_speak_tls_is_not_reached_in_plain(upstream: Upstream) -> None:
    async with RawServer([]).running() as server:
        url = server.url.with_scheme("https")
        with pytest.raises(UpstreamError, match="could not be reached"):
            async with upstream.post(url, CIMultiDict(), b""):
                pass
