"""Whoever is killed, and in whatever order: every recorded row is in the ledger, and once."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from tests.integration.usage.conftest import Books
from tests.support.killable_postgres import Server
from tests.support.postgres import REPOSITORY

PATIENCE_S = 60.0


class Writer:
    """A ledger in another process, and what it said it has recorded."""

    program = "tests.integration.usage.writer"

    def __init__(self, dsn: str, directory: Path, name: str) -> None:
        self._arguments = (dsn, str(directory), name)
        self.told: list[str] = []

    async def __aenter__(self) -> "Writer":
        command = (sys.executable, "-m", self.program, *self._arguments)
        self.process = await asyncio.create_subprocess_exec(
            *command,
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.over()

    async def wait_for(self, more: int) -> None:
        """Until so many more are recorded."""
        wanted = len(self.told) + more
        async with asyncio.timeout(PATIENCE_S):
            while len(self.told) < wanted:
                assert self.process.returncode is None
                await asyncio.sleep(0.005)

    async def kill(self) -> None:
        """As a crash does."""
        self.process.kill()
        await self.over()

    async def end(self) -> None:
        """As a stop does."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        await self.over()
        assert self.process.returncode == 0

    async def over(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.process.wait()
            await self._reading

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            # The last line may be torn, as the journal's may.
            if line.endswith(b"\n"):
                self.told.append(line.decode().strip())


@asynccontextmanager
async def server(directory: Path) -> AsyncIterator[Server]:
    found = await asyncio.to_thread(Server, directory)
    try:
        await migrate(found.dsn, REPOSITORY / "migrations")
        yield found
    finally:
        await asyncio.to_thread(found.stop)


async def stored(dsn: str) -> dict[str, int]:
    """The cost of each request; fails if one is there twice."""
    store = Store(dsn, size=1)
    await store.wait_ready()
    await store.open()
    rows = await Books(store).fetch("SELECT request_id, cost_micro_dollars FROM usage_ledger")
    await store.close()
    assert len({row[0] for row in rows}) == len(rows), "no row is doubled"
    return {str(row[0]): int(str(row[1])) for row in rows}


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def check(rows: dict[str, int], told: list[str], killed: int = 0) -> None:
    """All that was told is there; of one that was killed, at most one row that it did not tell."""
    assert set(told) - rows.keys() == set(), "no row is lost"
    assert len(rows.keys() - set(told)) <= killed
    # The n-th row of a writer has n tokens, of a micro-dollar each.
    assert {name: cost for name, cost in rows.items() if name.rpartition("-")[2] != str(cost)} == {}


async def test_a_writer_that_is_killed_again_and_again(migrated_dsn: str, tmp_path: Path) -> None:
    told: list[str] = []
    for n in range(5):
        async with Writer(migrated_dsn, tmp_path, f"w{n}") as writer:
            await writer.wait_for(100 + 37 * n)
            await writer.kill()
            told += writer.told
    async with Writer(migrated_dsn, tmp_path, "last") as last:
        await last.wait_for(20)
        await last.end()
    check(await stored(migrated_dsn), told + last.told, killed=5)
    assert files(tmp_path) == [], "and no journal is left"


async def test_postgres_is_killed_under_two_writers_and_one_of_them_too(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    async with (
        server(tmp_path / "postgres") as postgres,
        Writer(postgres.dsn, journals, "a") as a,
        Writer(postgres.dsn, journals, "b") as b,
    ):
        for _ in range(2):
            await asyncio.gather(a.wait_for(200), b.wait_for(200))
            await postgres.kill()
            await asyncio.gather(a.wait_for(200), b.wait_for(200))
            await postgres.start()
        await postgres.kill()
        await b.wait_for(100)
        await b.kill()
        await postgres.start()
        await a.wait_for(100)
        await a.end()
        async with Writer(postgres.dsn, journals, "c") as c:
            await c.wait_for(20)
            await c.end()
        check(await stored(postgres.dsn), [*a.told, *b.told, *c.told], killed=1)
    assert files(journals) == []


async def test_an_end_without_a_store_leaves_the_rows_for_the_next_start(tmp_path: Path) -> None:
    journals = tmp_path / "journals"
    async with server(tmp_path / "postgres") as postgres:
        async with Writer(postgres.dsn, journals, "a") as a:
            await a.wait_for(100)
            await postgres.kill()
            await a.wait_for(100)
            await a.end()
        assert len(files(journals)) == 1
        await postgres.start()
        async with Writer(postgres.dsn, journals, "b") as b:
            await b.wait_for(20)
            await b.end()
        check(await stored(postgres.dsn), [*a.told, *b.told])
