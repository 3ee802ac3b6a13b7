"""A real first target, broken in each way there is, and a second that works: all are answered."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from tests.unit.doubles import chat

Way = Callable[[asyncio.StreamWriter], Awaitable[None]]

_HEAD = b"HTTP/1.1 %b\r\ncontent-type: text/event-stream\r\nconnection: close\r\n%b\r\n"
_EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def _saying(status: bytes, body: bytes, headers: bytes = b"") -> Way:
    async def way(writer: asyncio.StreamWriter) -> None:
        writer.write(_HEAD % (status, headers) + body)
        await writer.drain()

    return way


async def _reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def _stall(_writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


WAYS: dict[str, Way | None] = {
    "refused": None,
    "reset": _reset,
    "429": _saying(b"429 Too Many Requests", b"{}", b"retry-after: 1\r\n"),
    "5xx": _saying(b"500 Internal Server Error", b"{}"),
    "error-in-200": _saying(b"200 OK", b'data: {"error":{"message":"no"}}\n\n'),
    "stall": _stall,
    "cut": _saying(b"200 OK", _EVENT[:20], b"content-length: 500\r\n"),
    "malformed": _saying(b"200 OK", b"data: {]\n\n"),
}


@asynccontextmanager
async def _server(way: Way | None) -> AsyncIterator[str]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert way is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await way(writer)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    if way is None:
        server.close()
    yield url
    server.close()


def _provider(name: str, url: str, patience_s: float) -> OpenAIProvider:
    timeouts = Timeouts(20, patience_s, 20, total_s=20)
    account = OpenAIAccount(name, url, None, headers={})
    return OpenAIProvider(name, account, Upstream(name, timeouts=timeouts, pool_size=100))


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("at_once", [1, 20])
async def test_the_second_answers_all(way: str, at_once: int) -> None:
    async with AsyncExitStack() as stack:
        well = _saying(b"200 OK", _EVENT + b"data: [DONE]\n\n")
        urls = [await stack.enter_async_context(_server(how)) for how in (WAYS[way], well)]
        # A machine that is slow for a moment is no fault of the one that works.
        named = zip("pq", urls, (0.3, 20.0), strict=True)
        providers = {name: _provider(name, url, patience) for name, url, patience in named}
        for provider in providers.values():
            stack.push_async_callback(provider.close)
        ledger = Ledger()
        declared = [Declaration(name, name, p, ("m",)) for name, p in providers.items()]
        router = Router(Catalogue(declared, ledger), ledger, RouterDefaults("failover"))
        dispatcher = Dispatcher(Roster(providers), ledger, lambda *_: None)

        async def ask() -> str:
            request = chat(stream=True)
            async with dispatcher.open(router.plan(request), request) as answer:
                assert [answer.first, *[chunk async for chunk in answer.rest]]
                return answer.target.provider

        for _ in range(20 // at_once):
            assert set(await asyncio.gather(*(ask() for _ in range(at_once)))) == {"q"}
        assert all(told.in_flight == 0 for told in ledger.snapshot())
