"""The command `ailb` as a process of its own."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.stack import PATIENCE_S, eventually

_START_S = 60.0


class Ailb:
    """`ailb` with `arguments`, in `directory`, with no more environment than it is given."""

    def __init__(
        self, *arguments: str, directory: Path, environment: Mapping[str, object] | None = None
    ) -> None:
        # With PYTHONPATH, which says whose code a checkout beside the installed one tests.
        kept = ("PATH", "HOME", "TMPDIR", "PYTHONPATH")
        clean = {name: os.environ[name] for name in kept if name in os.environ}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "ailb_server", *arguments],
            cwd=directory,
            # No test fetches a model, or leaves a journal in somebody's home.
            env={
                **clean,
                "EMBEDDING_BACKEND": "none",
                "USAGE_JOURNAL_DIR": str(directory / "usage"),
                **{name: str(value) for name, value in (environment or {}).items()},
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE_S)

    @property
    def output(self) -> str:
        """All it has printed, both streams."""
        return "".join(self._lines)

    def until(self, text: str) -> None:
        """Waits until it has printed `text`."""
        ended = threading.Event()

        def seen() -> bool:
            if self.process.poll() is not None:
                self._reader.join(PATIENCE_S)
                ended.set()
            return text in self.output or ended.is_set()

        eventually(seen, _START_S)
        assert text in self.output, self.output

    def ends(self) -> int:
        """Waits for its end and returns its status."""
        status = self.process.wait(_START_S)
        self._reader.join(PATIENCE_S)
        return status

    def interrupt(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Sends a signal to the process alone."""
        self.process.send_signal(number)

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)


def children_of(pid: int) -> list[int]:
    """Every process below `pid` that still runs."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found: list[int] = []
    waiting = [pid]
    while waiting:
        parent = waiting.pop()
        below = [child for child, above in parents.items() if above == parent]
        found += below
        waiting += below
    return found


def name_of(pid: int) -> str:
    """The process's name; empty if it has ended, also if nobody took note of that yet."""
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return ""
    return "" if tail.split()[0] == "Z" else head.partition("(")[2]
