"""Rate limits that operators set at run time, beside the limits of keys and tenants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class TargetKind(StrEnum):
    """What a rate limit holds for: `kind:name`, and `global` alone."""

    KEY = "key"
    TENANT = "tenant"
    PROVIDER = "provider"
    MODEL = "model"
    ROUTE = "route"
    GLOBAL = "global"


@dataclass(frozen=True, slots=True)
class LimitTarget:
    """A target, taken apart; of `global` the name is empty."""

    kind: TargetKind
    name: str


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests of one target; every rate that is not 0 holds by itself, on all instances together.

    `target` is `key:ID-or-name`, `tenant:NAME`, `provider:NAME`, `model:NAME` (as callers ask for
    it), `route:ID` or `global`. `burst`: how many may come at once, of the shortest of the rates;
    of longer ones, and where it is 0, a whole period's. What is not `enabled` is kept and does
    nothing.
    """

    limit_id: str
    target: str
    per_second: int = 0
    per_minute: int = 0
    per_hour: int = 0
    burst: int = 0
    enabled: bool = True
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptRateLimit:
    """A rate limit as the store has it. `number` tells it from those that had its id before;
    `owner_id` is the key's or tenant's number, for targets of those kinds."""

    number: int
    kind: TargetKind
    limit: RateLimit
    owner_id: int | None = None

    @property
    def name(self) -> str:
        """What follows the kind; empty for `global`."""
        return self.limit.target.partition(":")[2]
