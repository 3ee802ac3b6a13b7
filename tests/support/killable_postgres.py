"""A Postgres of a test's own, which dies and comes back.

`python -m ... DIRECTORY` is the process behind `SeparateServer`.
"""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.local.postgres_probe import server_pid
from tests.support.postgres import REPOSITORY, eventually, socket_directory


class Server:
    """Started; `dsn` stays what it is."""

    def __init__(self, directory: Path) -> None:
        self._postgres = EmbeddedPostgres(directory, settings={"fsync": "off"})
        self.dsn = self._postgres.start()

    async def kill(self) -> None:
        """As a crash does."""
        pid = server_pid(socket_directory(self.dsn))
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(eventually, lambda: not self._postgres.alive(), "it is gone")

    async def start(self) -> None:
        """Again."""
        await asyncio.to_thread(self._postgres.start)

    def stop(self) -> None:
        """For good."""
        self._postgres.stop()


class SeparateServer:
    """The same in a process of its own: one that gRPC runs in cannot start a Postgres as another
    user, because for that it has to fork."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, str(directory)],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.dsn = self._answer()

    def kill(self) -> None:
        """As a crash does."""
        self._ask("kill")

    def start(self) -> None:
        """Again."""
        self._ask("start")

    def stop(self) -> None:
        """For good."""
        self._process.communicate(timeout=60)

    def _ask(self, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n")
        self._process.stdin.flush()
        assert self._answer() == "done"

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def main() -> None:
    """Does what standard input says, until it ends."""
    server = Server(Path(sys.argv[1]))
    try:
        _say(server.dsn)
        for line in sys.stdin:
            asyncio.run(server.kill() if line.strip() == "kill" else server.start())
            _say("done")
    finally:
        server.stop()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
