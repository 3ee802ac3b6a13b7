"""Pauses between tries that fail, so that nobody is hurried and no two instances keep time."""

import random
from dataclasses import dataclass, field


@dataclass(slots=True)
class Backoff:
    """Seconds: from `first_s`, doubled each time, to `most_s`; each is cut by up to its half."""

    first_s: float = 1.0
    most_s: float = 15.0
    dice: random.Random = field(default_factory=random.SystemRandom)
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_s = self.first_s

    def pause_s(self) -> float:
        """The next one."""
        whole, self._next_s = self._next_s, min(self.most_s, 2 * self._next_s)
        return whole * self.dice.uniform(0.5, 1)

    def reset(self) -> None:
        """All is well."""
        self._next_s = self.first_s
