"""Callers who never pause: streams at a provider's pace, and chats at a rate."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.support.stack import eventually

CHAT = "/v1/chat/completions"
WORDS = 20
PACE_MS = 100
_EVERY_S = 0.01
_END_S = 30.0


def chat(**fields: object) -> dict[str, Any]:
    """A chat's JSON."""
    return {"model": "demo", "messages": [{"role": "user", "content": "hello"}], **fields}


def paced(words: int = WORDS) -> dict[str, Any]:
    """That of a stream of so many words, one every 100 ms."""
    return chat(stream=True, demo={"words": words, "chunk_ms": PACE_MS})


@dataclass(slots=True)
class Tally:
    """What came of it. `failures` say what was wrong, one of each request that failed."""

    chats: int = 0
    streams: int = 0
    failures: list[str] = field(default_factory=list)

    async def grows(self, chats: int) -> None:
        """Returns once so many more have ended."""
        enough = self.chats + chats
        await asyncio.to_thread(eventually, lambda: self.chats >= enough)


async def whole(http: aiohttp.ClientSession) -> None:
    """One chat. Raises AssertionError or aiohttp's errors if it is not answered as it must be."""
    async with http.post(CHAT, json=chat()) as response:
        text = await response.text()
        assert response.status == 200, f"{response.status} {text}"
        assert json.loads(text)["choices"][0]["finish_reason"] == "stop", text


async def streamed(http: aiohttp.ClientSession) -> None:
    """One stream; raises as `whole`."""
    async with http.post(CHAT, json=paced()) as response:
        text = await response.text()
        assert response.status == 200, f"{response.status} {text}"
        assert text.endswith("data: [DONE]\n\n"), text[-300:]
        assert words_of(text) == WORDS, text


def words_of(text: str) -> int:
    """How many words of a stream's answer there are."""
    events = [e.removeprefix("data: ") for e in text.split("\n\n") if e.startswith("data: {")]
    choices = [choice for event in events for choice in json.loads(event)["choices"]]
    return len("".join(c["delta"].get("content") or "" for c in choices).split())


@asynccontextmanager
async def going_on(url: str, *, streams: int) -> AsyncIterator[Tally]:
    """Within the context so many streams run all the time, each followed by the next, and a chat
    begins every 10 ms. After it all have ended."""
    tally, over = Tally(), asyncio.Event()
    async with (
        aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as http,
        asyncio.timeout(None) as limit,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(streams):
            group.create_task(_stream_on(http, tally, over))
        group.create_task(_chat_on(http, tally, over))
        yield tally
        over.set()
        limit.reschedule(asyncio.get_running_loop().time() + _END_S)


async def _stream_on(http: aiohttp.ClientSession, tally: Tally, over: asyncio.Event) -> None:
    while not over.is_set():
        await _counted(tally, lambda: streamed(http))
        tally.streams += 1


async def _chat_on(http: aiohttp.ClientSession, tally: Tally, over: asyncio.Event) -> None:
    async def one() -> None:
        await _counted(tally, lambda: whole(http))
        tally.chats += 1

    async with asyncio.TaskGroup() as group:
        while not over.is_set():
            group.create_task(one())
            await asyncio.sleep(_EVERY_S)


async def _counted(tally: Tally, ask: Callable[[], Awaitable[None]]) -> None:
    try:
        await ask()
    except (AssertionError, aiohttp.ClientError, OSError) as error:
        tally.failures.append(f"{type(error).__name__}: {error}"[:500])
