"""A command in a terminal of its own, typed into and read from."""

import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 20.0


class Terminal:
    """Runs Python with `arguments` there; ends it at the end of the block if it still runs."""

    def __init__(self, *arguments: str) -> None:
        self._screen, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdin=theirs, stdout=theirs, stderr=theirs
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._screen)

    def type(self, keys: str) -> None:
        """Types the keys; `\\n` is return, `\\x04` is Ctrl-D."""
        os.write(self._screen, keys.encode())

    def interrupt(self) -> None:
        """What Ctrl-C does to the foreground process."""
        self._process.send_signal(signal.SIGINT)

    def wait_until_it_reads(self) -> None:
        """Waits until the process sleeps, as it does once it waits for a key.

        Python's readline misses a signal that comes between the prompt and that.
        """
        end = time.monotonic() + PATIENCE_S
        stat = Path(f"/proc/{self._process.pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end, "it is still busy"

    def wait_for(self, words: str, *, after: int = 0) -> int:
        """Waits until they are shown behind the place `after`; returns the place behind them."""
        end = time.monotonic() + PATIENCE_S
        while (found := self.shown.find(words, after)) < 0:
            assert time.monotonic() < end, f"{words!r} is not in {self.shown!r}"
            assert self._read(), f"it ended without {words!r}: {self.shown!r}"
        return found + len(words)

    def status(self) -> int:
        """Waits for the end; returns the exit status."""
        while self._read():
            pass
        return self._process.wait(PATIENCE_S)

    def _read(self) -> bool:
        """Reads what is there, for at most a moment; False at the end."""
        if not select.select([self._screen], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self._screen, 65536)
        except OSError:  # Linux: nobody is left on the other side.
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
