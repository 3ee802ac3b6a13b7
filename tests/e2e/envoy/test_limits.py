"""The limits of time and number, made small: each answers in OpenAI's shape."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, TypeAlias

import aiohttp
import pytest
import yaml
from google.api.httpbody_pb2 import HttpBody

from ailb_server.local import envoy
from ailb_server.local.resources import data_dir
from tests.e2e.envoy.conftest import Edge, envoy_for
from tests.e2e.envoy.replies import Reply, exchange, reply_of
from tests.e2e.envoy.stub import ChatRequest, Context, Stub, serve

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
Config: TypeAlias = dict[str, Any]
Change: TypeAlias = Callable[[Config], None]


@pytest.fixture
def changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Change], None]:
    """Lets the next Envoy run with a changed configuration."""

    def change_by(change: Change) -> None:
        source = tmp_path / "changed"
        shutil.copytree(data_dir("envoy"), source)
        file = source / "envoy.yaml"
        config = yaml.safe_load(file.read_text())
        change(config)
        file.write_text(yaml.safe_dump(config))
        monkeypatch.setattr(envoy, "data_dir", lambda name: source)

    return change_by


def set_timeouts(**timeouts: str) -> Change:
    def change(config: Config) -> None:
        (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
        chain["filters"][0]["typed_config"].update(timeouts)

    return change


def allow_one_request(config: Config) -> None:
    (cluster,) = config["static_resources"]["clusters"]
    cluster["circuit_breakers"]["thresholds"] = [{"max_requests": 1}]


def allow_no_memory(config: Config) -> None:
    for monitor in config["overload_manager"]["resource_monitors"]:
        if monitor["name"] == "envoy.resource_monitors.fixed_heap":
            monitor["typed_config"]["max_heap_size_bytes"] = 1 << 20


async def silent(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
    """Says as much as it was told, then nothing."""
    if request.body.data:
        yield HttpBody(content_type="text/event-stream", data=request.body.data)
    await asyncio.Event().wait()


async def post(http: aiohttp.ClientSession, data: bytes = b"") -> Reply:
    async with http.post(CHAT, data=data) as response:
        return await reply_of(response)


async def test_a_server_that_never_answers(changed: Callable[[Change], None]) -> None:
    changed(set_timeouts(stream_idle_timeout="0.2s"))
    stub = Stub(chat=silent)
    server, port = await serve(stub)
    async with envoy_for(port) as http, asyncio.timeout(10):
        reply = await post(http)
        assert (reply.status, reply.error()["code"]) == (504, "timeout")
        assert reply.error()["type"] == "server_error"
        with pytest.raises(aiohttp.ClientPayloadError):
            await post(http, b"data: 1\n\n")
    await server.stop(grace=None)


async def test_a_client_that_never_finishes(changed: Callable[[Change], None]) -> None:
    changed(set_timeouts(request_headers_timeout="0.2s", request_timeout="0.4s"))
    stub = Stub()
    server, port = await serve(stub)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
    async with envoy_for(port) as http:
        assert http._base_url is not None
        assert http._base_url.port is not None
        for request in (head, head + b"content-length: 9\r\n\r\n{"):
            reply = await exchange(http._base_url.port, request)
            assert (reply.status, reply.error()["code"]) == (408, "request_timeout")
    assert stub.seen == []
    await server.stop(grace=None)


async def test_more_calls_than_envoy_may_hold(changed: Callable[[Change], None]) -> None:
    changed(allow_one_request)
    stub = Stub(chat=silent)
    server, port = await serve(stub)
    async with (
        asyncio.timeout(10),
        envoy_for(port) as http,
        http.post(CHAT, data=b"data: 1\n\n"),
    ):
        reply = await post(http)
    assert (reply.status, reply.error()["code"]) == (503, "overloaded")
    assert reply.error()["type"] == "server_error"
    assert reply.headers["retry-after"] == "1"
    await server.stop(grace=None)


async def test_more_memory_than_envoy_may_have(changed: Callable[[Change], None]) -> None:
    changed(allow_no_memory)
    stub = Stub()
    server, port = await serve(stub)
    async with envoy_for(port) as http, asyncio.timeout(10):
        # The first look at the heap is a refresh interval after the start.
        while (reply := await post(http)).status == 200:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert (reply.status, reply.error()["code"]) == (503, "server_unavailable")
    assert reply.headers["retry-after"] == "1"
    await server.stop(grace=None)


async def test_two_thousand_calls_at_once_are_not_too_many(edge: Edge) -> None:
    """Envoy's own defaults allow 1024; a busy server is to say so itself."""
    count = 2000
    here = asyncio.Event()

    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        if len(edge.stub.seen) >= count:
            here.set()
        await here.wait()
        yield HttpBody(content_type="application/json", data=b"{}")

    edge.stub.chat = chat
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(edge.url, connector=connector) as http, asyncio.timeout(60):
        replies = await asyncio.gather(*(post(http) for _ in range(count)))
    assert {reply.status for reply in replies} == {200}
