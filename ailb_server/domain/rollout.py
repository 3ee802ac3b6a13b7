"""How traffic is shared between versions, and how the shares change.

Nobody moves a share step by step: what it is now follows from when its promotion began, so that all
instances agree. Times are seconds since 1970 by the clock of Postgres.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

ALL = 100
DEFAULT_INTERVAL_S = 60
# Beside this instance's version, in its rollout: whatever else the load balancer sends traffic to.
OTHERS = "others"

# Percent by version, in declared order; together ALL.
Weights: TypeAlias = tuple[tuple[str, int], ...]


class InstanceWeight(Protocol):
    """What this instance's version is to get, as told to load balancers."""

    def current(self) -> int:
        """Percent, as of now."""
        ...


@dataclass(frozen=True, slots=True)
class Promotion:
    """`version` gains `rate` percent at once, and again every `interval_s` seconds."""

    version: str
    rate: int
    interval_s: int
    started_at: float

    def gained(self, now: float) -> int:
        """Percent until now."""
        return self.rate * (1 + int(max(0.0, now - self.started_at) // self.interval_s))


@dataclass(frozen=True, slots=True)
class Rollout:
    """`weights` are those at `changed_at`; a `promotion` moves them on.

    `stable` is the version that had all traffic last, `previous` the one that had it before.
    """

    weights: Weights
    stable: str = ""
    previous: str = ""
    promotion: Promotion | None = None
    changed_at: float = 0.0

    def at(self, now: float) -> Weights:
        """The weights in force."""
        promotion = self.promotion
        if promotion is None:
            return self.weights
        begun = weight_of(self.weights, promotion.version)
        return shared(self.weights, promotion.version, min(ALL, begun + promotion.gained(now)))

    def under_way(self, now: float) -> bool:
        """Whether a promotion has steps to come."""
        promotion = self.promotion
        return promotion is not None and weight_of(self.at(now), promotion.version) < ALL

    def active(self, now: float) -> str:
        """The version with the greatest share; of equals the first declared."""
        return heaviest(self.at(now))

    def settled(self, now: float) -> "Rollout":
        """The same, a promotion that came to its end written out."""
        if self.promotion is None or self.under_way(now):
            return self
        return self._changed(self.at(now), self.changed_at)

    def shared_as(self, weights: Weights, now: float) -> "Rollout":
        """These versions have these weights from now on; what else there was is forgotten."""
        base, names = self.settled(now), dict(weights)
        known = replace(
            base,
            stable=base.stable if base.stable in names else "",
            previous=base.previous if base.previous in names else "",
        )
        changed = known._changed(weights, now)
        return changed if changed.stable else replace(changed, stable=heaviest(weights))

    def carried(self, versions: Sequence[str], now: float) -> Weights:
        """What `versions` have of the weights in force: new ones nothing, and those that stay share
        what the others had."""
        had = dict(self.at(now))
        kept = [(name, had.get(name, 0)) for name in versions]
        if not any(weight for _, weight in kept):
            return first_has_all(versions)
        return shared((*kept, (OTHERS, 0)), OTHERS, 0)[:-1]

    def weighted(self, version: str, weight: int, now: float) -> "Rollout":
        """`version` has `weight` percent from now on; a promotion ends."""
        now_settled = self.settled(now)
        return now_settled._changed(shared(now_settled.at(now), version, weight), now)

    def promoted(self, version: str, rate: int, interval_s: int, now: float) -> "Rollout":
        """`version` gets all, by steps of `rate` percent."""
        base = self.settled(now)
        base = replace(base, weights=base.at(now), promotion=None, changed_at=now)
        if rate >= ALL:
            return base.weighted(version, ALL, now)
        return replace(base, promotion=Promotion(version, rate, interval_s, now))

    def back_to(self, now: float) -> str | None:
        """Where a rollback leads that names no version: out of what is under way to the version
        that had all last, else to the one before. None: nowhere."""
        base = self.settled(now)
        versions = dict(base.weights)
        if base.stable in versions and weight_of(base.at(now), base.stable) < ALL:
            return base.stable
        return base.previous if base.previous in versions else None

    def _changed(self, weights: Weights, at: float) -> "Rollout":
        full = heaviest(weights) if max(weight for _, weight in weights) == ALL else None
        if full is None or full == self.stable:
            return replace(self, weights=weights, promotion=None, changed_at=at)
        return Rollout(weights, full, self.stable, None, at)


def begun(weights: Weights, at: float) -> Rollout:
    """A new one: its heaviest version counts as the one that had all."""
    return Rollout(weights, heaviest(weights), changed_at=at)


def first_has_all(versions: Sequence[str]) -> Weights:
    """Where nobody said how to share."""
    return tuple((name, 0 if index else ALL) for index, name in enumerate(versions))


def weight_of(weights: Weights, version: str) -> int:
    """Percent; 0 of an unknown one."""
    return dict(weights).get(version, 0)


def heaviest(weights: Weights) -> str:
    """The version with the greatest share; of equals the first declared."""
    return max(weights, key=lambda one: one[1])[0]


def shared(weights: Weights, version: str, weight: int) -> Weights:
    """`version` has `weight`, the others the rest, in the proportions that they had.

    Where they had nothing, the first of them gets the rest. Whole percents by the largest
    remainder.
    """
    others = [(name, had) for name, had in weights if name != version]
    rest = ALL - weight
    total = sum(had for _, had in others)
    if not total:
        others = [(name, 0 if index else 1) for index, (name, _) in enumerate(others)]
        total = 1
    given = {name: rest * had // total for name, had in others}
    remainders = sorted(others, key=lambda one: -(rest * one[1] % total))
    for name, _ in remainders[: rest - sum(given.values())]:
        given[name] += 1
    return tuple((name, weight if name == version else given[name]) for name, _ in weights)
