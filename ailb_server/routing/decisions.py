"""The last routing decisions, with their reasons."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from ailb_server.domain.target import Target

MAX_DECISIONS = 200


@dataclass(slots=True)
class Tried:
    """An attempt: `outcome` is `answered`, or why it did not answer. Seconds to that point."""

    target: Target
    outcome: str
    seconds: float


@dataclass(slots=True)
class Decision:
    """One request's way. `skipped` tells why each was; `at` is seconds since 1970.

    `outcome` is `answered`, an error's reason, `cancelled`, or `pending` while it is under way.
    `route` is `route/version` where a model route chose.
    """

    at: float
    model: str
    strategy: str
    order: Sequence[Target]
    skipped: list[tuple[Target, str]] = field(default_factory=list)
    tried: list[Tried] = field(default_factory=list)
    outcome: str = "pending"
    waited_s: float = 0.0
    route: str = ""


class DecisionLog:
    """The newest MAX_DECISIONS."""

    def __init__(self, size: int = MAX_DECISIONS) -> None:
        self._decisions: deque[Decision] = deque(maxlen=size)

    def add(self, decision: Decision) -> None:
        """Keeps it, forgetting the oldest."""
        self._decisions.append(decision)

    def snapshot(self) -> Sequence[Decision]:
        """Newest first. The decisions are live: one under way may still change."""
        return list(reversed(self._decisions))
