"""`ailb memory`, against a running server."""

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from ailb_server.api.edge import Edge
from ailb_server.api.memory_service import MemoryService
from ailb_server.app.services import memory_services
from ailb_server.cli.main import app
from ailb_server.server import GrpcServer
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance
from tests.support.conversations import exchange, user
from tests.support.loop_thread import LoopThread


class Running:
    """A server in a thread of its own, as commands block."""

    def __init__(self, dsn: str, stack: ExitStack) -> None:
        self.loop = LoopThread()
        stack.callback(self.loop.stop)
        self.loop.run(self._start(dsn))
        stack.callback(lambda: self.loop.run(self._stop()))

    async def _start(self, dsn: str) -> None:
        self._store = Store(dsn, size=3)
        await self._store.open()
        self.memory = Instance(self._store)
        servicer = MemoryService(
            self.memory.conversations, self.memory.reindexing, timedelta(days=1)
        )
        self._server = GrpcServer(Edge(10), memory_services(servicer), max_calls=10)
        self.port = await self._server.start("127.0.0.1", 0)

    async def _stop(self) -> None:
        await self._server.stop()
        await self.memory.memory.close()
        await self._store.close()

    def told(self, *arguments: str) -> Result:
        """What the command prints."""
        target = f"127.0.0.1:{self.port}"
        return CliRunner().invoke(app, ["memory", *arguments, "--target", target])


@pytest.fixture
def running(migrated_dsn: str) -> Iterator[Running]:
    with ExitStack() as stack:
        running = Running(migrated_dsn, stack)
        memory = running.memory
        for n in range(12):
            said = exchange(user(f"message {n} \x1b[31m"), session=f"s{n % 3}", said="Noted.")
            running.loop.run(memory.remember(said))
        yield running


def test_sessions_and_turns_are_listed(running: Running) -> None:
    lines = running.told("sessions").stdout.splitlines()
    assert [line.split()[2:] for line in lines] == [["8", "turns", f"s{n}"] for n in (2, 1, 0)]
    assert len(running.told("sessions", "--limit", "2").stdout.splitlines()) == 2
    assert running.told("sessions", "--user", "nobody").stdout == ""
    lines = running.told("turns", "s0").stdout.splitlines()
    assert len(lines) == 8
    assert lines[0].startswith("[0] ")
    assert lines[0].endswith("user: message 0 [31m"), "control characters do not reach a terminal"
    assert "assistant (openai/gpt-x): Noted." in lines[1]


def test_turns_are_found(running: Running) -> None:
    found = running.told("search", "message", "--session", "s1", "--limit", "3")
    assert len(found.stdout.splitlines()) == 3
    assert found.stdout.startswith("s1 [")


def test_sessions_are_deleted(running: Running) -> None:
    assert running.told("delete", "s0").stdout == "deleted 1\n"
    assert running.told("delete", "--all").stdout == "deleted 2\n"
    for wrong in ([], ["s0", "--all"]):
        assert running.told("delete", *wrong).exit_code == 2


def test_a_reindex_shows_how_far_it_is(running: Running) -> None:
    told = running.told("reindex")
    assert "Embedding turns" in told.stdout
    assert told.stdout.endswith("embedded: 24 of 24 turns\n")


def test_errors_are_one_line(running: Running) -> None:
    failed = running.told("turns", "unknown")
    assert (failed.exit_code, failed.stderr) == (1, "ailb: There is no such session.\n")
    away = CliRunner().invoke(app, ["memory", "sessions", "--target", "127.0.0.1:1"])
    assert away.exit_code == 1
    assert len(away.stderr.splitlines()) == 1
