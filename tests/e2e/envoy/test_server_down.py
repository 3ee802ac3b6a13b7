"""What callers get when there is no server, or it goes away, or it is full."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Self

import aiohttp
import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.e2e.envoy.conftest import envoy_for, free_port
from tests.e2e.envoy.replies import reply_of
from tests.e2e.envoy.stub import ChatRequest, Context, Stub, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"


class Wire:
    """A TCP connection to a server, and what cuts it as the kernel of a dead server would."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._join, "127.0.0.1", 0)
        self.port = self._listening.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *error: object) -> None:
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Resets every connection; new ones are refused."""
        self._listening.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, to_there = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers += [writer, to_there]
        for source, sink in ((reader, to_there), (there, writer)):
            self._tasks.add(asyncio.create_task(self._carry(source, sink)))

    @staticmethod
    async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await source.read(65536):
                sink.write(data)
                await sink.drain()


async def require_unavailable(response: aiohttp.ClientResponse) -> None:
    reply = await reply_of(response)
    error = reply.error()
    assert (reply.status, error["type"], error["code"]) == (
        503,
        "server_error",
        "server_unavailable",
    )
    assert reply.headers["retry-after"] == "1"


async def test_a_server_that_is_not_there() -> None:
    async with envoy_for(free_port()) as http:
        for _ in range(2):
            async with http.get("/v1/models") as response:
                await require_unavailable(response)
            async with http.post(CHAT, data=b"{}") as response:
                await require_unavailable(response)
        async with http.get("/nope") as response:
            assert (await reply_of(response)).error()["code"] == "unknown_url"


async def test_a_server_that_hangs_up() -> None:
    def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, envoy_for(port) as http, http.post(CHAT, data=b"{}") as response:
        await require_unavailable(response)


async def test_a_server_that_speaks_another_protocol() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, envoy_for(port) as http, http.get("/v1/models") as response:
        reply = await reply_of(response)
    assert reply.error()["type"] == "server_error"
    assert reply.status in {502, 503}


async def test_a_server_that_comes_back_is_found_at_once() -> None:
    stub = Stub()
    server, port = await serve(stub)
    async with envoy_for(port) as http:
        async with http.get("/v1/models") as response:
            assert response.status == 200
        await server.stop(grace=None)
        async with http.get("/v1/models") as response:
            await require_unavailable(response)
        server, _ = await serve(stub, port)
        async with http.get("/v1/models") as response:
            assert response.status == 200
        await server.stop(grace=None)


async def test_a_server_that_dies_in_a_call() -> None:
    stub = Stub()
    server, port = await serve(stub)

    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        if request.body.data == b"begin":
            yield HttpBody(content_type="text/event-stream", data=b"data: 1\n\n")
        await asyncio.Event().wait()

    stub.chat = chat
    async with Wire(port) as wire, envoy_for(wire.port) as http, asyncio.timeout(10):
        streaming = await http.post(CHAT, data=b"begin")
        assert await streaming.content.readline() == b"data: 1\n"
        stub.seen.clear()
        waiting = asyncio.create_task(http.post(CHAT, data=b"silent").__aenter__())
        await stub.called()
        wire.cut()
        await require_unavailable(await waiting)
        with pytest.raises(aiohttp.ClientPayloadError):
            await streaming.read()
        # The server may have begun its answer: nothing is asked twice.
        assert len(stub.seen) == 1
    await server.stop(grace=None)


async def test_a_call_goes_to_the_server_that_is_there() -> None:
    stub = Stub()
    server, port = await serve(stub)
    async with envoy_for(free_port(), port, free_port()) as http:
        for _ in range(10):
            async with http.post(CHAT, data=b"{}") as response:
                assert response.status == 200
    await server.stop(grace=None)


async def test_calls_spread_over_the_servers() -> None:
    stubs = [Stub(), Stub()]
    servers = [await serve(stub) for stub in stubs]

    all_here = asyncio.Event()

    async def slow(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        if sum(len(stub.seen) for stub in stubs) >= 20:
            all_here.set()
        await all_here.wait()
        yield HttpBody(content_type="application/json", data=b"{}")

    for stub in stubs:
        stub.chat = slow

    async def ask(http: aiohttp.ClientSession) -> None:
        async with http.post(CHAT, data=b"{}") as response:
            assert response.status == 200

    async with envoy_for(*(port for _, port in servers)) as http, asyncio.timeout(10):
        await asyncio.gather(*(ask(http) for _ in range(20)))
    assert all(len(stub.seen) >= 2 for stub in stubs)
    for server, _ in servers:
        await server.stop(grace=None)
