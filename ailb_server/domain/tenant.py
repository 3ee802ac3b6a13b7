"""Tenants as they are kept."""

from dataclasses import dataclass, field

from ailb_server.domain.principal import KeyLimits


@dataclass(frozen=True, slots=True)
class Tenant:
    """`limits` are those of all its keys together; `keys` counts those not revoked. `created_at` is
    in seconds since 1970."""

    name: str
    created_at: float
    limits: KeyLimits = field(default_factory=KeyLimits)
    keys: int = 0
