"""The store dies and comes back: chats go on, and nothing that was said is lost."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailb_server.domain.principal import ANYONE
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance, contents, until
from tests.support.conversations import exchange, user
from tests.support.killable_postgres import Server
from tests.support.postgres import REPOSITORY

CALLERS = 8
DOWN = "memory: the store is down; chats go on without, answers are kept here"


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    server = await asyncio.to_thread(Server, tmp_path)
    await migrate(server.dsn, REPOSITORY / "migrations")
    yield server
    await asyncio.to_thread(server.stop)


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Store]:
    store = Store(server.dsn, size=4)
    await store.open()
    yield store
    await store.close()


class Callers:
    """Chats of CALLERS sessions, each of which remembers what it said."""

    def __init__(self, memory: Instance) -> None:
        self._memory = memory
        self._ending = False
        self.told: list[list[str]] = [[] for _ in range(CALLERS)]
        self.slowest_s = 0.0
        self._tasks = [asyncio.create_task(self._converse(n)) for n in range(CALLERS)]

    async def say_more(self, what: str) -> None:
        """Waits until every caller has said more than now."""
        wanted = [len(words) + 15 for words in self.told]
        await until(lambda: all(len(w) > n for w, n in zip(self.told, wanted, strict=True)), what)

    async def end(self) -> None:
        """Raises what a caller met."""
        self._ending = True
        await asyncio.gather(*self._tasks)

    async def _converse(self, caller: int) -> None:
        told, session = self.told[caller], f"s{caller}"
        while not self._ending:
            words = f"message {len(told)}"
            started = time.monotonic()
            recalled = await self._memory.recall(user(words), session=session)
            said = exchange(user(words), session=session, said=f"re {words}")
            await self._memory.remember(said)
            self.slowest_s = max(self.slowest_s, time.monotonic() - started)
            if told and not recalled.degraded:
                assert contents(recalled)[-1] == f"re {told[-1]}", "callers read what they wrote"
            told.append(words)
            await asyncio.sleep(0.002)


async def test_no_turn_is_lost_when_postgres_is_killed_under_load(
    memory: Instance, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    memory.memory.start()
    callers = Callers(memory)
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            await callers.say_more("callers converse")
            await server.kill()
            await until(lambda: not memory.availability.up, "the outage is seen")
            await callers.say_more("chats go on in the outage")
            await server.start()
            await until(lambda: memory.availability.up, "the store is back")
        await callers.end()
        await until(lambda: not len(memory.journal), "all is stored")
    for caller, words in enumerate(callers.told):
        turns = await memory.fetch(
            "SELECT t.text FROM turns t JOIN sessions s ON s.id = t.session_id"
            " WHERE s.external_id = $1 ORDER BY turn",
            f"s{caller}",
        )
        wanted = [text for word in words for text in (word, f"re {word}")]
        assert [turn["text"] for turn in turns] == wanted
    assert memory.watching.losses == 0
    assert callers.slowest_s < 3, "every wait is bounded"
    lines = [r.getMessage() for r in caplog.records if r.getMessage().startswith("memory:")]
    assert lines == [DOWN, "memory: the store is back"] * 2


async def test_in_an_outage_recalls_are_quick_and_see_what_waits(
    memory: Instance, server: Server
) -> None:
    memory.memory.start()
    await memory.remember(exchange(user("before")))
    await server.kill()
    await memory.remember(exchange(user("My name is Alice."), said="Hello."))
    assert len(memory.journal) == 1
    recalled = await memory.recall(user("What is my name?"))
    assert recalled.degraded
    assert contents(recalled) == ["My name is Alice.", "Hello."]
    await until(lambda: not memory.availability.up, "the outage is seen")
    started = time.monotonic()
    for _ in range(100):
        await memory.recall(user("?"))
    assert time.monotonic() - started < 1, "nobody waits for what is known to be down"
    assert "does not answer" in memory.memory.problem()
    await server.start()
    await until(lambda: not len(memory.journal), "what waited is stored")
    assert await memory.texts() == ["before", "Good.", "My name is Alice.", "Hello."]
    assert memory.memory.problem() == ""
    assert memory.watching.states == [True, False, True]


async def test_a_close_stores_what_waits(memory: Instance, server: Server, store: Store) -> None:
    memory.memory.start()
    await server.kill()
    for n in range(5):
        await memory.remember(exchange(user(f"{n}")))
    await server.start()
    await memory.memory.close()
    assert len(await Instance(store).texts()) == 10


async def test_the_oldest_is_dropped_when_too_much_waits_and_it_is_said(
    server: Server, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    memory = Instance(store, journal_size=3)
    memory.memory.start()
    await server.kill()
    with caplog.at_level(logging.ERROR):
        for n in range(5):
            await memory.remember(exchange(user(f"{n}")))
        assert memory.watching.losses == 2
        await server.start()
        await until(lambda: not len(memory.journal), "the others are stored")
    assert (await memory.texts())[::2] == ["2", "3", "4"]
    told = [r.getMessage() for r in caplog.records if r.name.startswith("ailb_server.memory")]
    assert len(told) == 2
    assert "2 exchanges were lost" in told[1]
    await memory.memory.close()


async def test_what_was_deleted_is_not_stored_later(memory: Instance) -> None:
    waiting = exchange(user("secret"))
    memory.availability.failed()
    await memory.remember(waiting)
    await memory.conversations.delete(ANYONE, "s")
    assert len(memory.journal) == 0
