"""Tenants in Postgres. A trigger tells every instance of changed limits, and the audit log."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ailb_server.domain.audit import Actor
from ailb_server.domain.principal import KeyLimits
from ailb_server.domain.tenant import Tenant
from ailb_server.storage.connection import Row
from ailb_server.storage.pool import Store
from ailb_server.storage.rate_limits import act_as

_SELECT = """
SELECT t.name, t.created_at, t.requests_per_minute, t.tokens_per_minute, t.max_concurrent,
       t.monthly_budget_micro_dollars,
       (SELECT count(*) FROM api_keys k WHERE k.tenant_id = t.id AND k.revoked_at IS NULL) AS keys
  FROM tenants t
"""
_GET = f"{_SELECT} WHERE t.name = $1"
_LOCK = f"{_GET} FOR UPDATE OF t"
_LIST = f"{_SELECT} WHERE t.name > $1 ORDER BY t.name LIMIT $2"
_CREATE = """
WITH made AS (
  INSERT INTO tenants
    (name, requests_per_minute, tokens_per_minute, max_concurrent, monthly_budget_micro_dollars)
  VALUES ($1, $2, $3, $4, $5) ON CONFLICT (name) DO NOTHING
  RETURNING *
)
SELECT audit_as('tenant.created', 'tenant ' || name, id, NULL,
                jsonb_strip_nulls(to_jsonb(made) - '{id,created_at}'::text[]))
  FROM made
"""
_UPDATE = """
UPDATE tenants
   SET requests_per_minute = $2, tokens_per_minute = $3, max_concurrent = $4,
       monthly_budget_micro_dollars = $5
 WHERE name = $1
"""


@dataclass(frozen=True, slots=True)
class PostgresTenants:
    """A `TenantRecords`. `instance` is MODULE_ID."""

    store: Store
    instance: str

    async def create(self, name: str, limits: KeyLimits, by: Actor) -> Tenant | None:
        """See `TenantRecords`."""
        async with self.store.connection() as connection, connection.transaction():
            await act_as(connection, by, self.instance)
            if not await connection.fetch(_CREATE, name, *_values(limits)):
                return None
            row = await connection.fetchrow(_GET, name)
        return None if row is None else _tenant(row)

    async def get(self, name: str) -> Tenant | None:
        """See `TenantRecords`."""
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_GET, name)
        return None if row is None else _tenant(row)

    async def list(self, after: str, limit: int) -> Sequence[Tenant]:
        """See `TenantRecords`."""
        async with self.store.connection() as connection:
            rows = await connection.fetch(_LIST, after, limit)
        return [_tenant(row) for row in rows]

    async def update(
        self, name: str, change: Callable[[KeyLimits], KeyLimits], by: Actor
    ) -> Tenant | None:
        """See `TenantRecords`."""
        async with self.store.connection() as connection, connection.transaction():
            await act_as(connection, by, self.instance)
            before = await connection.fetchrow(_LOCK, name)
            if before is None:
                return None
            changed = change(_tenant(before).limits)
            await connection.execute(_UPDATE, name, *_values(changed))
            row = await connection.fetchrow(_GET, name)
        return None if row is None else _tenant(row)


def _tenant(row: Row) -> Tenant:
    limits = KeyLimits(
        row["requests_per_minute"],
        row["tokens_per_minute"],
        row["max_concurrent"],
        row["monthly_budget_micro_dollars"],
    )
    return Tenant(row["name"], row["created_at"].timestamp(), limits, row["keys"])


def _values(limits: KeyLimits) -> tuple[int | None, ...]:
    """In the order of _CREATE and _UPDATE."""
    return (
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.max_concurrent,
        limits.monthly_budget_micro_dollars,
    )
