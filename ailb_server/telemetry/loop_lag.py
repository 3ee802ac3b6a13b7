"""How late the event loop is: what every request waits, whoever blocks it."""

import asyncio
from collections import deque
from collections.abc import Callable

EVERY_S = 0.25
# What `worst` looks back on.
_KEPT = int(15 / EVERY_S)


class LoopLag:
    """Asks to be woken up every EVERY_S and tells `observe` by how many seconds that came late."""

    def __init__(self, observe: Callable[[float], None]) -> None:
        self._observe = observe
        self._recent: deque[float] = deque(maxlen=_KEPT)
        self._handle: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begins, within a running loop, until `stop`."""
        loop = asyncio.get_running_loop()
        due = loop.time() + EVERY_S
        self._handle = loop.call_at(due, self._woken, loop, due)

    def stop(self) -> None:
        """Ends it. May be repeated."""
        if self._handle is not None:
            self._handle.cancel()

    def worst(self) -> float:
        """The most of the last 15 s; 0 before it began."""
        return max(self._recent, default=0.0)

    def _woken(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        late = max(0.0, loop.time() - due)
        self._recent.append(late)
        self._observe(late)
        self.start()
