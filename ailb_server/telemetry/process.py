"""What this process takes of its machine."""

import os
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

_STATM = Path("/proc/self/statm")
_FDS = ("/proc/self/fd", "/dev/fd")
_LEAST_S = 1.0


def resident_bytes() -> int:
    """Memory that is resident now; where the system does not tell, the most that ever was."""
    try:
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def open_files() -> int:
    """Open file descriptors, sockets among them; 0 where the system does not tell."""
    for directory in _FDS:
        try:
            # One of them is of the listing itself.
            return len(os.listdir(directory)) - 1
        except OSError:
            continue
    return 0


@dataclass(slots=True)
class CpuShare:
    """How much of one core this process took lately: 150 are one and a half.

    Since the last time that it was asked, if that was a second ago or longer; else it tells the
    same again.
    """

    clock: Callable[[], float] = time.monotonic
    used_s: Callable[[], float] = time.process_time
    _at: float = field(init=False)
    _used_s: float = field(init=False)
    _percent: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._at, self._used_s = self.clock(), self.used_s()

    def percent(self) -> float:
        """Per cent of one core."""
        now, used_s = self.clock(), self.used_s()
        if now - self._at >= _LEAST_S:
            self._percent = 100 * (used_s - self._used_s) / (now - self._at)
            self._at, self._used_s = now, used_s
        return self._percent
