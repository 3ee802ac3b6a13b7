"""The server: clients that leave, forced behaviour, stopping, and the standalone command."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable

import aiohttp
import pytest

from ailb_server.demo.errors import ApiError
from ailb_server.demo.received import Outcome, Received
from ailb_server.demo.server import DemoServer

BOUND_S = 15
HELLO = {"model": "demo", "messages": [{"role": "user", "content": "Say hello"}]}


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - it is the server that changes it
            await asyncio.sleep(0.005)


async def over(received: Received) -> Outcome:
    async with asyncio.timeout(BOUND_S):
        return await received.over()


async def test_a_client_that_leaves_a_paced_stream_is_noticed(
    demo: DemoServer, url: str, http: aiohttp.ClientSession, seen: list[Received]
) -> None:
    wish = {"words": 20_000, "chunk_ms": 60_000}
    request = {**HELLO, "stream": True, "demo": wish}
    async with http.post(f"{url}/chat/completions", json=request) as answer:
        assert (await answer.content.readline()).startswith(b"data: ")
        assert demo.open_requests == 1
    assert await over(seen[0]) is Outcome.ABORTED
    assert demo.open_requests == 0


async def test_a_client_that_leaves_while_waiting_is_noticed(
    demo: DemoServer, url: str, http: aiohttp.ClientSession, seen: list[Received]
) -> None:
    request = {**HELLO, "demo": {"latency_ms": 60_000}}
    call = asyncio.create_task(http.post(f"{url}/chat/completions", json=request).__aenter__())
    await until(lambda: len(seen) == 1)
    call.cancel()
    assert await over(seen[0]) is Outcome.ABORTED
    assert demo.open_requests == 0


@pytest.mark.parametrize("fault", ["stall", "stall_headers", "stall_late"])
async def test_a_client_that_leaves_a_stall_is_noticed(
    url: str, http: aiohttp.ClientSession, seen: list[Received], fault: str
) -> None:
    request = {**HELLO, "stream": True, "demo": {"fault": fault}}
    call = asyncio.create_task(http.post(f"{url}/chat/completions", json=request).__aenter__())
    await until(lambda: len(seen) == 1)
    call.cancel()
    for answer in await asyncio.gather(call, return_exceptions=True):
        if isinstance(answer, aiohttp.ClientResponse):
            answer.close()
    assert await over(seen[0]) is Outcome.ABORTED


async def test_a_client_that_leaves_a_full_socket_is_noticed_without_noise(
    url: str,
    http: aiohttp.ClientSession,
    seen: list[Received],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nobody reads an answer larger than all buffers: the server's writes wait, then fail."""
    request = {**HELLO, "model": "demo-echo", "stream": True, "padding": "A" * 16_000_000}
    with caplog.at_level(logging.INFO):
        async with http.post(f"{url}/chat/completions", json=request):
            assert seen[0].outcome is Outcome.OPEN
        assert await over(seen[0]) is Outcome.ABORTED
    assert not caplog.records


@pytest.mark.parametrize("fault", ["reset", "close", "cut"])
async def test_a_fault_is_not_logged_as_the_server_s_error(
    url: str, http: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    request = {**HELLO, "demo": {"fault": fault}}
    with pytest.raises((aiohttp.ClientError, ConnectionError)):
        async with http.post(f"{url}/chat/completions", json=request) as answer:
            await answer.read()
    assert not caplog.records


async def test_forced_behaviour_reaches_every_request_until_it_ends(
    demo: DemoServer, url: str, http: aiohttp.ClientSession
) -> None:
    demo.behave({"status": 503, "headers": {"retry-after": "1"}})
    for answer in (
        await http.get(f"{url}/models"),
        await http.get(f"{url}/models/demo"),
        await http.post(f"{url}/chat/completions", json=HELLO),
    ):
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    own = await http.post(f"{url}/chat/completions", json={**HELLO, "demo": {"status": 409}})
    assert own.status == 409
    demo.behave({})
    assert (await http.get(f"{url}/models")).status == 200
    with pytest.raises(ApiError):
        demo.behave({"stats": 500})


async def test_wrong_paths_and_methods_have_openai_s_shape(
    url: str, http: aiohttp.ClientSession
) -> None:
    for answer, status in (
        (await http.get(f"{url}/nothing"), 404),
        (await http.get(f"{url}/chat/completions"), 405),
        (await http.delete(f"{url}/models/demo"), 405),
    ):
        assert answer.status == status
        assert set((await answer.json())["error"]) == {"message", "type", "param", "code"}


async def test_a_large_body_passes_and_is_counted_quickly(
    url: str, http: aiohttp.ClientSession
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 8_000_000}}
    request = {"model": "demo", "messages": [{"role": "user", "content": [image]}]}
    answer = await (await http.post(f"{url}/chat/completions", json=request)).json()
    assert answer["choices"][0]["message"]["content"] == "[demo] You sent 1 image"
    assert answer["usage"]["prompt_tokens"] < 200


async def test_a_taken_port_is_an_error_and_stop_frees_it(demo: DemoServer, url: str) -> None:
    port = int(url.removesuffix("/v1").rpartition(":")[2])
    other = DemoServer(port=port)
    with pytest.raises(OSError, match="in use"):
        await other.start()
    await other.stop()
    await demo.stop()
    await demo.stop()
    assert await other.start() == url
    await other.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_until_a_signal(
    http: aiohttp.ClientSession, number: signal.Signals
) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ailb_server.demo", "--model", "m", "--demo", '{"words": 2}'),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(BOUND_S):
            url = (await process.stdout.readline()).decode().strip()
            answer = await http.post(f"{url}/chat/completions", json={**HELLO, "model": "m"})
            assert (await answer.json())["choices"][0]["message"]["content"] == "[demo] You"
            reset = {**HELLO, "demo": {"fault": "reset"}}
            with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
                await http.post(f"{url}/chat/completions", json=reset)
            process.send_signal(number)
            _, errors = await process.communicate()
        assert (process.returncode, errors) == (0, b"")
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
