"""Moving averages: plain, and one that believes bad news at once."""

import math


class Ewma:
    """An exponentially weighted mean of samples, each new one weighing `weight`; None at first."""

    __slots__ = ("_weight", "value")

    def __init__(self, weight: float = 0.1) -> None:
        self._weight = weight
        self.value: float | None = None

    def observe(self, sample: float) -> None:
        """Adds a sample."""
        old = self.value
        self.value = sample if old is None else old + self._weight * (sample - old)


class PeakEwma:
    """Jumps up to a worse sample, decays towards better ones by the time that has passed.

    As in Finagle's "Peak EWMA" load balancer; `DECAY_S` is its default too.
    """

    DECAY_S = 10.0
    # A mean of samples older than this says little about now.
    STALE_S = 30.0

    __slots__ = ("seen_at", "value")

    def __init__(self) -> None:
        self.value: float | None = None
        self.seen_at = -math.inf

    def observe(self, sample: float, now: float) -> None:
        """Adds a sample, in seconds, taken at `now`."""
        old = self.value
        if old is None or sample >= old:
            self.value = sample
        else:
            keep = math.exp(-(now - self.seen_at) / self.DECAY_S)
            self.value = old * keep + sample * (1 - keep)
        self.seen_at = now

    def stale(self, now: float) -> bool:
        """Never told, or not lately."""
        return now - self.seen_at > self.STALE_S
