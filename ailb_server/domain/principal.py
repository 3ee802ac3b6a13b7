"""Who calls."""

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase

from ailb_server.domain.errors import PermissionDeniedError

DEFAULT_TENANT_ID = 1
DEFAULT_TENANT = "default"


class Role(StrEnum):
    """What a key may do: see `ailb.v1.KeyRole`."""

    ADMIN = "admin"
    USER = "user"
    MODULE = "module"


@dataclass(frozen=True, slots=True)
class KeyLimits:
    """How much a key, or a tenant's keys together, may use; None: not limited. The
    budget is of a calendar month, UTC."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    max_concurrent: int | None = None
    monthly_budget_micro_dollars: int | None = None


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a call runs.

    Everything that is stored belongs to the tenant. `tenant_id` is its row in `tenants`; `tenant`
    its name, for people. `key_id` is the key's row in `api_keys`, None without one; `name` the
    key's. `allowed_models` and `allowed_collections` are patterns of `fnmatch`; empty allows all.
    `limits` are the key's own, `tenant_limits` those that it shares with its tenant's other keys.
    `cache_ttl_s`: its requests may be answered by the response cache, by nothing older; None: only
    those that ask for it.
    """

    tenant_id: int = DEFAULT_TENANT_ID
    tenant: str = DEFAULT_TENANT
    key_id: int | None = None
    name: str = ""
    role: Role = Role.USER
    allowed_models: tuple[str, ...] = ()
    allowed_collections: tuple[str, ...] = ()
    limits: KeyLimits = field(default_factory=KeyLimits)
    tenant_limits: KeyLimits = field(default_factory=KeyLimits)
    cache_ttl_s: int | None = None

    def may_use(self, model: str) -> bool:
        """Whether it may ask for a model, by the name that the caller writes."""
        return _allowed(model, self.allowed_models)

    def may_read(self, collection: str) -> bool:
        """Whether it may use one of its tenant's collections."""
        return _allowed(collection, self.allowed_collections)

    def require_model(self, model: str) -> None:
        """Raises PermissionDeniedError unless it may use the model."""
        if not self.may_use(model):
            raise PermissionDeniedError(
                f"This API key may not use the model `{model[:256]}`.", param="model"
            )

    def require_collection(self, collection: str, param: str = "collection") -> None:
        """As `require_model`, for a collection; `param` names the field."""
        if not self.may_read(collection):
            raise PermissionDeniedError(
                f"This API key may not use the collection `{collection[:256]}`.", param=param
            )


def _allowed(name: str, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)


# The caller of a server that asks for no key: whoever reaches it may do all that people may.
ANYONE = Principal(name="anyone", role=Role.ADMIN)
