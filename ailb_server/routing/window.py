"""A sum over the last seconds, in memory that does not grow."""


class SlidingSum:
    """Adds amounts up over a window cut into slots; a slot leaves it as a whole.

    The window covers at least `span_s` and at most one slot more. Times are seconds of one
    monotonic clock.
    """

    __slots__ = ("_amounts", "_newest", "_slot_s", "_total")

    def __init__(self, span_s: float, slots: int) -> None:
        self._slot_s = span_s / slots
        # One more, because the newest slot has only just begun.
        self._amounts = [0] * (slots + 1)
        self._newest = 0
        self._total = 0

    def add(self, now: float, amount: int) -> None:
        """Adds to the slot of `now`."""
        self._advance(now)
        self._amounts[self._newest % len(self._amounts)] += amount
        self._total += amount

    def correct(self, at: float, now: float, amount: int) -> None:
        """Changes what was added at `at`; no matter any more if that has left the window.

        Elsewhere a negative amount would outlast what it corrects, and let too much in.
        """
        self._advance(now)
        slot, size = int(at // self._slot_s), len(self._amounts)
        if slot > self._newest - size:
            self._amounts[slot % size] += amount
            self._total += amount

    def total(self, now: float) -> int:
        """The sum of what the window still holds."""
        self._advance(now)
        return self._total

    def fits_in(self, now: float, room: int) -> float:
        """Seconds until the sum is at most `room`; 0 if it is. `room` must not be negative."""
        excess = self.total(now) - room
        if excess <= 0:
            return 0.0
        size = len(self._amounts)
        for slot in range(self._newest - size + 1, self._newest + 1):
            excess -= self._amounts[slot % size]
            if excess <= 0:
                return max(0.0, (slot + size) * self._slot_s - now)
        return size * self._slot_s

    def clear(self) -> None:
        """Forgets all."""
        self._amounts = [0] * len(self._amounts)
        self._total = 0

    def _advance(self, now: float) -> None:
        slot = int(now // self._slot_s)
        passed = slot - self._newest
        if passed <= 0:
            return
        size = len(self._amounts)
        if passed >= size:
            self.clear()
        else:
            for index in range(self._newest + 1, slot + 1):
                self._total -= self._amounts[index % size]
                self._amounts[index % size] = 0
        self._newest = slot
