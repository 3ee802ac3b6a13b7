"""Of two servers one ends: callers notice nothing, and nothing is asked twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from google.api.httpbody_pb2 import HttpBody

from ailb_server.api.edge import Edge
from ailb_server.server import GrpcServer
from tests.e2e.envoy.conftest import envoy_for
from tests.e2e.envoy.stub import ChatRequest, Context, Stub, register, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
FEW = 10


@asynccontextmanager
async def ending(stub: Stub) -> AsyncIterator[tuple[GrpcServer, Edge, int]]:
    """AILB's own server and edge around the stub's answers."""
    edge = Edge(100)
    server = GrpcServer(edge, register(stub), max_calls=100)
    port = await server.start("127.0.0.1", 0)
    try:
        yield server, edge, port
    finally:
        await server.stop()


async def ask(http: aiohttp.ClientSession, body: bytes = b"{}") -> int:
    """The status."""
    async with http.post(CHAT, data=body) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("size", [10, 5 << 20])
async def test_what_is_refused_at_the_end_is_asked_of_another_server(size: int) -> None:
    """Large ones too, whose bytes Envoy must still have. Health has not told of the end yet."""
    other = Stub()
    server, port = await serve(other)
    async with ending(Stub()) as (_, edge, refusing), envoy_for(refusing, port) as http:
        edge.refuse()
        for _ in range(FEW):
            assert await ask(http, b" " * size) == 200
    assert len(other.seen) == FEW
    await server.stop(grace=None)


async def test_what_a_server_broke_off_is_not_asked_again() -> None:
    """It may have asked a provider."""
    stub, other = Stub(), Stub()
    begun = asyncio.Event()

    async def silent(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        begun.set()
        await asyncio.Event().wait()
        yield HttpBody()

    stub.chat = silent
    other_server, port = await serve(other)
    async with ending(stub) as (server, _, ending_port), envoy_for(ending_port, port) as http:
        asked = []
        while not begun.is_set():
            asked.append(asyncio.create_task(ask(http)))
            await asyncio.wait(asked, timeout=0.1)
        before = len(other.seen)
        await server.stop()
        statuses = await asyncio.gather(*asked)
    assert statuses.count(503) == 1
    assert len(other.seen) == before
    await other_server.stop(grace=None)


async def test_a_server_that_says_so_gets_nothing_new_and_keeps_its_streams() -> None:
    stub, other = Stub(), Stub()
    begun, ends = asyncio.Event(), asyncio.Event()

    async def streaming(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        stays = request.body.data == b"stay"
        if stays:
            begun.set()
        yield HttpBody(content_type="text/event-stream", data=b"data: 1\n\n")
        if stays:
            await ends.wait()
        yield HttpBody(data=b"data: 2\n\n")

    stub.chat = streaming
    other_server, port = await serve(other)
    async with ending(stub) as (server, _, ending_port), envoy_for(ending_port, port) as http:
        streams = []
        while not begun.is_set():
            streams.append(await http.post(CHAT, data=b"stay"))
        await server.announce_end()
        await until_all_reach(http, other)
        ends.set()
        text = await streams[-1].text()
    assert text == "data: 1\n\ndata: 2\n\n"
    await other_server.stop(grace=None)


async def until_all_reach(http: aiohttp.ClientSession, other: Stub) -> None:
    """Asks until some in a row have reached `other`, bounded; all are answered."""
    async with asyncio.timeout(10):
        while True:
            before = len(other.seen)
            for _ in range(FEW):
                assert await ask(http) == 200
            if len(other.seen) == before + FEW:
                return
