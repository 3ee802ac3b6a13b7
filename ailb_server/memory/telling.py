"""What memory tells of itself."""

from typing import Protocol


class MemoryObserver(Protocol):
    """Metrics. No method may raise."""

    def recalled(self, outcome: str, seconds: float) -> None:
        """A recall ended: `ok` or `degraded`."""
        ...

    def available(self, *, up: bool) -> None:
        """The store answers, or it does not."""
        ...

    def waiting(self, exchanges: int, size: int) -> None:
        """How many exchanges, and bytes of them, wait to be stored."""
        ...

    def lost(self, exchanges: int) -> None:
        """So many exchanges will not be stored."""
        ...

    def embedded(self, turns: int) -> None:
        """So many turns were embedded."""
        ...

    def removed(self, sessions: int) -> None:
        """So many sessions were past their time."""
        ...
