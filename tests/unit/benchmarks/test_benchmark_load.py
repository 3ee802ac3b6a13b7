"""The load generator, against a server that answers what the test says."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.generator import Load
from benchmarks.load import Order

_JSON = b'{"choices":[{"finish_reason":"stop"}]}'
_EVENTS = (b"data: 1\n\n", b"data: 2\n\n", b"data: [DONE]\n\n")


async def test_a_closed_loop_counts_and_checks_answers() -> None:
    async with _server(_whole(_JSON)) as port:
        found = await Load(_order(port, expected=_JSON.decode())).run()
        wrong = await Load(_order(port, expected="{}")).run()
    assert found.done >= 20
    assert found.errors == {}
    assert wrong.errors["wrong body"] >= 20


async def test_any_complete_answer_may_do() -> None:
    async with _server(_whole(_JSON)) as port:
        right = await Load(_order(port, expected=None)).run()
    async with _server(_whole(b'{"choices":[]}')) as port:
        wrong = await Load(_order(port, expected=None)).run()
    assert right.errors == {}
    assert set(wrong.errors) == {"not complete"}


async def test_an_open_loop_sends_what_is_due() -> None:
    async with _server(_whole(_JSON)) as port:
        order = _order(port, expected=None, rate=400.0, most=40)
        found = await Load(order).run()
    assert found.done >= 40
    assert found.errors == {}


async def test_requests_that_wait_for_a_connection_were_due_before() -> None:
    """One connection, and answers that take 20 ms: what waits is as late as the queue is long."""
    async with _server(_whole(_JSON), delay_s=0.02) as port:
        found = await Load(_order(port, expected=None, rate=500.0, most=5, concurrency=1)).run()
    assert found.latency is not None
    assert found.latency.highest > 40
    assert set(found.errors) == {"not sent"}


async def test_chunks_and_gaps_of_streams_are_counted() -> None:
    pieces = [b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"]
    pieces += [b"%x\r\n%b\r\n" % (len(event), event) for event in _EVENTS]
    async with _server([*pieces, b"0\r\n\r\n"], pause_s=0.005) as port:
        expected = b"".join(_EVENTS).decode()
        found = await Load(_order(port, expected=expected, stream=True, most=8)).run()
    assert found.errors == {}
    assert found.chunks >= 3 * 8
    assert found.gap is not None
    assert found.gap.p50 >= 4


def _order(
    port: int,
    *,
    expected: str | None,
    stream: bool = False,
    rate: float = 0.0,
    most: int = 20,
    concurrency: int = 2,
) -> Order:
    return Order(
        port=port,
        body="{}",
        expected=expected,
        stream=stream,
        concurrency=concurrency,
        warm_s=0.0,
        window_s=10.0,
        max_requests=most,
        pids={},
        rate=rate,
        paced=stream,
    )


def _whole(body: bytes) -> list[bytes]:
    return [b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body]


@asynccontextmanager
async def _server(
    pieces: list[bytes], *, delay_s: float = 0.0, pause_s: float = 0.0
) -> AsyncIterator[int]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n{}"):
                await asyncio.sleep(delay_s)
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause_s)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
