"""An observer that remembers what it was told."""

from collections import Counter


class Watching:
    """See `memory.telling.MemoryObserver`."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.states: list[bool] = []
        self.queued = (0, 0)
        self.losses = 0
        self.vectors = 0
        self.stale = 0

    def recalled(self, outcome: str, seconds: float) -> None:
        assert seconds >= 0
        self.outcomes[outcome] += 1

    def available(self, *, up: bool) -> None:
        self.states.append(up)

    def waiting(self, exchanges: int, size: int) -> None:
        self.queued = (exchanges, size)

    def lost(self, exchanges: int) -> None:
        self.losses += exchanges

    def embedded(self, turns: int) -> None:
        self.vectors += turns

    def removed(self, sessions: int) -> None:
        self.stale += sessions
