"""Who calls."""

from dataclasses import dataclass

DEFAULT_TENANT_ID = 1
DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Principal:
    """On whose behalf a call runs.

    Everything that is stored belongs to the tenant. `tenant_id` is its row in `tenants`; `tenant`
    its name, for people.
    """

    tenant_id: int = DEFAULT_TENANT_ID
    tenant: str = DEFAULT_TENANT


# The caller of a server that asks for no key.
ANYONE = Principal()
