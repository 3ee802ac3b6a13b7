"""Postgres is killed under chats that use memory and knowledge: they go on, and lose nothing."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.killable_postgres import SeparateServer
from tests.support.stack import Stack, eventually

CALLERS = 6
OUTAGES = 2
# What a chat waits at most: 1 s for a recall, 1 s to be remembered, 1 s for a vector and 3 s more
# for knowledge. Beyond it there is only what the machine itself may take.
BOUND_S = 6.0 + 4.0
SETTINGS = {
    "embedding_backend": "provider",
    "embedding_model": "openai/demo",
    "embedding_timeout_s": 1,
}
PATIENCE_S = 60.0
MEMORY_LINES = [
    "memory: the store is down; chats go on without, answers are kept here",
    "memory: the store is back",
]
KNOWLEDGE_LINES = [
    "knowledge cannot be reached: chats go on without",
    "over: knowledge cannot be reached: chats go on without",
]


@dataclass(frozen=True, slots=True)
class Said:
    """A chat that was answered. `states` are those of Postgres at its beginning and its end."""

    question: str
    answer: str
    degraded: str
    states: tuple[str, str]


class Callers:
    """Sessions that chat one after the other, until they are told to end."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http
        self._ending = False
        # `up`, `down`, or between the two.
        self.state = "up"
        self.said: list[list[Said]] = [[] for _ in range(CALLERS)]
        self._tasks = [asyncio.create_task(self._converse(n)) for n in range(CALLERS)]

    async def more(self, chats: int = 15) -> None:
        """Waits until each has had so many more chats."""
        wanted = [len(said) + chats for said in self.said]
        await until(lambda: all(len(s) >= n for s, n in zip(self.said, wanted, strict=True)), self)

    async def end(self) -> None:
        """Lets them end what they are at; raises what one of them met."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def leave(self) -> None:
        """At once."""
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    def check(self) -> None:
        """Raises what one of them met."""
        for task in self._tasks:
            if task.done():
                task.result()

    async def _converse(self, caller: int) -> None:
        while not self._ending:
            before = self.state
            question = f"Which lamp is message {len(self.said[caller])} of {caller} about?"
            async with asyncio.timeout(BOUND_S):
                answer, degraded = await self._chat(question, f"s{caller}")
            self.said[caller].append(Said(question, answer, degraded, (before, self.state)))
            # Hundreds of chats a second would only make the test longer.
            await asyncio.sleep(0.01)

    async def _chat(self, question: str, session: str) -> tuple[str, str]:
        body = {
            "model": "demo",
            "messages": [{"role": "user", "content": question}],
            "session_id": session,
            "rag_collection": "manuals",
        }
        async with self._http.post("/v1/chat/completions", json=body) as response:
            assert response.status == 200, await response.text()
            answer = await response.json()
            degraded = response.headers.get("x-ailb-degraded", "")
        return answer["choices"][0]["message"]["content"], degraded


async def until(condition: Callable[[], bool], callers: Callers) -> None:
    """Waits for it; bounded."""

    def holds() -> bool:
        callers.check()
        return condition()

    await asyncio.to_thread(eventually, holds, PATIENCE_S)


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[SeparateServer, aiohttp.ClientSession]]:
    """A Postgres of its own, a gateway with a collection, and a client of its REST face."""
    server = await asyncio.to_thread(SeparateServer, directory)
    try:
        stack = Stack(server.dsn, settings=SETTINGS)
        await asyncio.to_thread(stack.__enter__)
        try:
            async with aiohttp.ClientSession(stack.rest) as http:
                await _import_manual(http)
                yield server, http
        finally:
            await asyncio.to_thread(stack.__exit__, None, None, None)
    finally:
        await asyncio.to_thread(server.stop)


async def _import_manual(http: aiohttp.ClientSession) -> None:
    async with http.post("/v1/collections", json={"name": "manuals"}) as made:
        assert made.status == 200
    documents = [{"id": "lamps", "text": "The red lamp means low pressure."}]
    path = "/v1/collections/manuals/documents"
    async with http.post(path, json={"documents": documents}) as taken:
        job = (await taken.json())["job"]["id"]
    ends = time.monotonic() + PATIENCE_S
    while (await get(http, f"/v1/imports/{job}"))["job"]["state"] != "IMPORT_STATE_FINISHED":
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


async def get(http: aiohttp.ClientSession, path: str, **query: str) -> Any:
    async with http.get(path, params=query) as response:
        assert response.status == 200, await response.text()
        return await response.json()


async def metric(http: aiohttp.ClientSession, name: str, **labels: str) -> float:
    async with http.get("/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    found = [s.value for f in families for s in f.samples if (s.name, s.labels) == (name, labels)]
    return sum(found)


async def outage(server: SeparateServer, callers: Callers, http: aiohttp.ClientSession) -> None:
    """Postgres is killed, missed, and started again, while chats go on."""
    await callers.more()
    callers.state = "dying"
    await asyncio.to_thread(server.kill)
    callers.state = "down"
    await callers.more()
    assert await metric(http, "ailb_memory_up") == 0
    callers.state = "starting"
    await asyncio.to_thread(server.start)
    ends = time.monotonic() + PATIENCE_S
    while await metric(http, "ailb_memory_up") == 0:
        assert time.monotonic() < ends, "the store is not back"
        await asyncio.sleep(0.05)
    # The sessions' answers of the outage come first: until they are stored, so may nothing else.
    while await metric(http, "ailb_memory_waiting_exchanges"):
        assert time.monotonic() < ends, "what waited is not stored"
        await asyncio.sleep(0.05)
    await callers.more(2)
    callers.state = "up"


async def stored(http: aiohttp.ClientSession, session: str) -> list[str]:
    """The texts of all turns."""
    texts: list[str] = []
    token = ""
    while True:
        page = await get(http, f"/v1/sessions/{session}/turns", page_token=token)
        texts += [turn["text"] for turn in page["turns"]]
        token = page.get("next_page_token", "")
        if not token:
            return texts


@pytest.mark.timeout(240)
async def test_chats_go_on_and_no_turn_is_lost(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with running(tmp_path) as (server, http):
        callers = Callers(http)
        try:
            for _ in range(OUTAGES):
                await outage(server, callers, http)
            await callers.more()
            await callers.end()
        finally:
            await callers.leave()
        everything = [await stored(http, f"s{caller}") for caller in range(CALLERS)]
        assert await metric(http, "ailb_memory_lost_exchanges_total") == 0
        degraded = await metric(http, "ailb_memory_recalls_total", outcome="degraded")
    told = [said for caller in callers.said for said in caller]
    marks = {
        states: {said.degraded for said in told if said.states == states}
        for states in {said.states for said in told}
    }
    assert marks["up", "up"] == {""}, marks
    assert marks["down", "down"] == {"memory,rag"}, marks
    assert set().union(*marks.values()) <= {"", "memory", "rag", "memory,rag"}, marks
    assert degraded == sum("memory" in said.degraded for said in told)
    # Those of the outage too: this instance has kept them.
    for said, texts in zip(callers.said, everything, strict=True):
        assert texts == [text for one in said for text in (one.question, one.answer)]
    lines = [record.getMessage() for record in caplog.records]
    assert [line for line in lines if line in MEMORY_LINES] == MEMORY_LINES * OUTAGES
    assert [line for line in lines if line in KNOWLEDGE_LINES] == KNOWLEDGE_LINES * OUTAGES
