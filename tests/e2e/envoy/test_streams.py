"""Server-sent events: each at once, and over when the client is."""

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator

import pytest
from google.api.httpbody_pb2 import HttpBody

from tests.e2e.envoy.conftest import Edge
from tests.e2e.envoy.stub import ChatRequest, Context

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"


class Script:
    """Sends an event for each `say`; tells when the call was cancelled."""

    def __init__(self) -> None:
        self.events: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.cancelled = asyncio.Event()

    async def chat(self, request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        """The stub's answer."""
        try:
            while (data := await self.events.get()) is not None:
                yield HttpBody(content_type="text/event-stream", data=data)
        except (asyncio.CancelledError, GeneratorExit):
            self.cancelled.set()
            raise

    def say(self, data: bytes | None) -> None:
        """Sends the next event; None ends the stream."""
        self.events.put_nowait(data)


@pytest.fixture
def script(edge: Edge) -> Script:
    script = Script()
    edge.stub.chat = script.chat
    return script


async def test_each_event_is_there_before_the_next_is_sent(edge: Edge, script: Script) -> None:
    script.say(b"data: 0\n\n")
    async with asyncio.timeout(10), edge.http.post(CHAT, data=b"{}") as response:
        assert response.status == 200
        assert response.headers["content-type"] == "text/event-stream"
        for number in range(1, 20):
            assert await response.content.readline() == b"data: %d\n" % (number - 1)
            assert await response.content.readline() == b"\n"
            script.say(b"data: %d\n\n" % number)
        script.say(None)
        assert await response.content.read() == b"data: 19\n\n"


async def test_headers_come_with_the_first_event_only(edge: Edge, script: Script) -> None:
    """Until then the status may change."""
    asking = asyncio.ensure_future(edge.http.post(CHAT, data=b"{}").__aenter__())
    await edge.stub.called()
    assert not asking.done()
    script.say(b"data: 0\n\n")
    script.say(None)
    async with asyncio.timeout(5):
        response = await asking
        assert await response.read() == b"data: 0\n\n"


@pytest.mark.parametrize("events", [0, 1, 3])
async def test_a_client_that_leaves_cancels_the_call(
    edge: Edge, script: Script, events: int
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"POST %s HTTP/1.1\r\nHost: x\r\ncontent-length: 2\r\n\r\n{}" % CHAT.encode())
    async with asyncio.timeout(5):
        await edge.stub.called()
        for number in range(events):
            script.say(b"data: %d\n\n" % number)
            await reader.readuntil(b"data: %d\n\n" % number)
        writer.transport.abort()
        await script.cancelled.wait()


async def test_many_streams_at_once(edge: Edge) -> None:
    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        for _ in range(5):
            yield HttpBody(content_type="text/event-stream", data=request.body.data)
            await asyncio.sleep(0)

    async def ask(number: int) -> bytes:
        async with edge.http.post(CHAT, data=b"%d " % number) as response:
            return await response.read()

    edge.stub.chat = chat
    answers = await asyncio.gather(*(ask(number) for number in range(100)))
    assert answers == [b"%d " % number * 5 for number in range(100)]


@pytest.mark.skipif(shutil.which("curl") is None, reason="an HTTP/2 client is needed")
async def test_events_over_http_2(edge: Edge, script: Script) -> None:
    script.say(b"data: 0\n\n")
    curl = await asyncio.create_subprocess_exec(
        *("curl", "-sSN", "--http2-prior-knowledge", "-d", "{}", edge.url + CHAT),
        stdout=subprocess.PIPE,
    )
    assert curl.stdout is not None
    async with asyncio.timeout(10):
        for number in range(1, 10):
            assert await curl.stdout.readuntil(b"\n\n") == b"data: %d\n\n" % (number - 1)
            script.say(b"data: %d\n\n" % number)
        curl.terminate()
        await curl.wait()
        await script.cancelled.wait()
