"""Time that passes only when it is told to."""

import asyncio
import selectors
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from typing_extensions import override

T = TypeVar("T")


@dataclass
class Clock:
    """Seconds; call it to read it."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


class _Skipping(selectors.SelectSelector):
    """Instead of waiting for a time, makes it that time."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    @override
    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("nothing is left that could ever happen")
        self._clock.now += max(0.0, timeout)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Skipping(clock))
        self._told = clock

    @override
    def time(self) -> float:
        return self._told.now


def run(clock: Clock, main: Coroutine[Any, Any, T]) -> T:
    """Runs `main` in a loop whose time is the clock's: sleeping takes no time, waiting in vain is
    an error."""
    with asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner:
        return runner.run(main)
