"""API keys as they are kept: everything but the secret."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from ailb_server.domain.principal import DEFAULT_TENANT, KeyLimits, Principal, Role


@dataclass(frozen=True, slots=True)
class Secret:
    """What is kept of a secret: how it begins, and its digest. Neither leads back to it."""

    prefix: str
    digest: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What a key's owner may change. Times are seconds since 1970."""

    name: str
    allowed_models: tuple[str, ...] = ()
    allowed_collections: tuple[str, ...] = ()
    limits: KeyLimits = field(default_factory=KeyLimits)
    expires_at: float | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made. The tenant is made too if it is missing."""

    terms: KeyTerms
    tenant: str = DEFAULT_TENANT
    role: Role = Role.USER


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that is there. Times are seconds since 1970."""

    id: int
    tenant_id: int
    tenant: str
    role: Role
    terms: KeyTerms
    prefix: str
    version: int
    created_at: float
    updated_at: float
    revoked_at: float | None = None
    previous_prefix: str | None = None
    previous_expires_at: float | None = None
    tenant_limits: KeyLimits = field(default_factory=KeyLimits)

    def principal(self) -> Principal:
        """Who calls with it."""
        return Principal(
            self.tenant_id,
            self.tenant,
            self.id,
            self.terms.name,
            self.role,
            self.terms.allowed_models,
            self.terms.allowed_collections,
            self.terms.limits,
            self.tenant_limits,
        )


@dataclass(frozen=True, slots=True)
class Match:
    """The key that a secret opens. `until`, in seconds since 1970, is when this secret's time is
    over: the key's, or that of a secret that was rotated away."""

    key: ApiKey
    until: float | None


@dataclass(frozen=True, slots=True)
class KeyQuery:
    """Which keys to list: `limit` of them with a higher id than `after_id`."""

    after_id: int = 0
    limit: int = 100
    tenant: str = ""
    show_revoked: bool = False
