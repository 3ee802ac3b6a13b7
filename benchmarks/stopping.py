"""Ctrl-C and its kin: they end a run, but never between a process's start and its record."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StoppedError(Exception):
    """A signal asked for the end."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Within it the first signal raises StoppedError; later ones do nothing."""

    def stop(_number: int, _frame: object) -> None:
        for number in _STOPS:
            signal.signal(number, signal.SIG_IGN)
        raise StoppedError

    before = {number: signal.signal(number, stop) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within it signals wait; one that came takes effect at its end."""
    came: list[int] = []

    def note(number: int, _frame: object) -> None:
        came.append(number)

    before = {number: signal.signal(number, note) for number in _STOPS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])
