"""The rate limits set at run time that are in force, as this instance knows them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ailb_server.domain.limits import Limit, Quantity
from ailb_server.domain.rate_limit import KeptRateLimit, TargetKind

_SECOND_S, _MINUTE_S, _HOUR_S = 1, 60, 3600


@dataclass(frozen=True, slots=True)
class RateLimits:
    """By kind and whom: a key's or tenant's number, a provider's, model's or route's name."""

    by_target: Mapping[tuple[TargetKind, int | str], tuple[Limit, ...]] = field(
        default_factory=dict
    )

    @classmethod
    def of(cls, kept: Iterable[KeptRateLimit]) -> "RateLimits":
        """Those that hold together are in the order they are given in."""
        found: dict[tuple[TargetKind, int | str], tuple[Limit, ...]] = {}
        for one in kept:
            whom = one.name if one.owner_id is None else one.owner_id
            found[one.kind, whom] = (*found.get((one.kind, whom), ()), *_limits(one))
        return cls(found)

    def find(self, kind: TargetKind, whom: int | str = "") -> tuple[Limit, ...]:
        """What limits that one."""
        return self.by_target.get((kind, whom), ())


@dataclass(slots=True)
class RateLimitBook:
    """Holds those that are in force now: replaced as a whole, never changed."""

    current: RateLimits = field(default_factory=RateLimits)


def _limits(kept: KeptRateLimit) -> Iterable[Limit]:
    limit, burst = kept.limit, kept.limit.burst
    rates = (
        (limit.per_second, _SECOND_S),
        (limit.per_minute, _MINUTE_S),
        (limit.per_hour, _HOUR_S),
    )
    for rate, seconds in rates:
        if rate:
            yield Limit(
                "limit",
                kept.number,
                Quantity.REQUESTS,
                cap=burst or rate,
                rate=rate,
                period=seconds,
                target=limit.target,
            )
            # Longer spans allow their own number at once, or the shorter one would mean nothing.
            burst = 0
