"""The four timeouts, each met alone."""

import json
import socket
from collections.abc import Iterator

import aiohttp
import pytest

from ailb_server.settings import ProviderSettings
from tests.support.stack import Stack

CHAT = "/v1/chat/completions"
LONG = 30


def stack_with(database_url: str, **short: float) -> Stack:
    """A stack whose timeouts are long but for the given ones."""
    names = ("connect_timeout_s", "first_token_timeout_s", "between_tokens_timeout_s")
    settings: dict[str, object] = dict.fromkeys(names, LONG)
    return Stack(database_url, settings={**settings, "total_timeout_s": LONG * 2, **short})


async def ask(stack: Stack, **fields: object) -> tuple[int, str]:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hi"}], **fields}
    async with aiohttp.ClientSession(stack.rest) as http, http.post(CHAT, json=body) as response:
        return response.status, await response.text()


def last_error(text: str) -> str:
    """The code of the error that ends a stream."""
    last = [event for event in text.split("\n\n") if event][-1]
    code: str = json.loads(last.removeprefix("data: "))["error"]["code"]
    return code


@pytest.mark.parametrize("stream", [False, True])
async def test_the_first_token(postgres_server: str, *, stream: bool) -> None:
    with stack_with(postgres_server, first_token_timeout_s=0.3) as stack:
        status, text = await ask(stack, stream=stream, demo={"latency_ms": 20_000})
    assert (status, json.loads(text)["error"]["code"]) == (504, "upstream_timeout")


async def test_between_tokens(postgres_server: str) -> None:
    with stack_with(postgres_server, between_tokens_timeout_s=0.3) as stack:
        wish = {"fault": "stall_late", "after": 2}
        status, text = await ask(stack, stream=True, demo=wish)
    assert (status, last_error(text)) == (200, "upstream_timeout")


async def test_a_pause_shorter_than_the_limit_passes(postgres_server: str) -> None:
    with stack_with(postgres_server, between_tokens_timeout_s=5) as stack:
        _, text = await ask(stack, stream=True, demo={"words": 5, "chunk_ms": 100})
    assert text.endswith("data: [DONE]\n\n")


async def test_the_total_bounds_a_stream_that_never_pauses(postgres_server: str) -> None:
    with stack_with(postgres_server, total_timeout_s=1, connect_timeout_s=1) as stack:
        wish = {"words": 5_000, "chunk_ms": 20}
        status, text = await ask(stack, stream=True, demo=wish)
    assert (status, last_error(text)) == (200, "upstream_timeout")


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel drops what comes."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for client in waiting:
            client.setblocking(False)  # noqa: FBT003 - socket's signature
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]
        for client in waiting:
            client.close()


async def test_the_connection(postgres_server: str, deaf: int) -> None:
    provider = ProviderSettings.model_validate(
        {"name": "deaf", "base_url": f"http://127.0.0.1:{deaf}/v1", "models": ("m",)}
    )
    settings = {"connect_timeout_s": 0.3, "first_token_timeout_s": LONG, "total_timeout_s": LONG}
    with Stack(postgres_server, upstreams=(), extra=(provider,), settings=settings) as stack:
        status, text = await ask(stack, model="m")
    assert (status, json.loads(text)["error"]["code"]) == (503, "upstream_unavailable")
