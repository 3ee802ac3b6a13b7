"""Rate limits in Postgres. A trigger tells every instance of a change, and the audit log.

Who makes it is told to the trigger as the transaction's setting `ailb.actor`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.rate_limit import KeptRateLimit, LimitTarget, RateLimit, TargetKind
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.pool import Store

CHANNEL = "ailb_rate_limits"

_COLUMNS = """
number, limit_id, kind, name, key_id, tenant_id, requests_per_second, requests_per_minute,
requests_per_hour, burst, enabled, metadata
"""
_ENABLED = f"SELECT {_COLUMNS} FROM rate_limits WHERE enabled ORDER BY number"  # noqa: S608
_LIST = f"""
SELECT {_COLUMNS} FROM rate_limits
 WHERE $1::text IS NULL OR (kind = $1 AND (name = $2 OR key_id = $3))
 ORDER BY kind, name, limit_id
"""  # noqa: S608
_PUT = """
INSERT INTO rate_limits
  (limit_id, kind, name, key_id, tenant_id, requests_per_second, requests_per_minute,
   requests_per_hour, burst, enabled, metadata)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::jsonb)
ON CONFLICT (limit_id) DO UPDATE
   SET kind = excluded.kind, name = excluded.name, key_id = excluded.key_id,
       tenant_id = excluded.tenant_id, requests_per_second = excluded.requests_per_second,
       requests_per_minute = excluded.requests_per_minute,
       requests_per_hour = excluded.requests_per_hour, burst = excluded.burst,
       enabled = excluded.enabled, metadata = excluded.metadata, updated_at = now()
"""
_REMOVE = "DELETE FROM rate_limits WHERE limit_id = $1 RETURNING number"
_OTHERS = "SELECT count(*) FROM rate_limits WHERE limit_id <> $1"
_KEYS = """
SELECT id FROM api_keys WHERE id = $1 OR name = $2
 ORDER BY id = $1 DESC NULLS LAST, revoked_at IS NULL DESC, id LIMIT 2
"""
_TENANT = "SELECT id FROM tenants WHERE name = $1"
_IS_ROUTE = "SELECT EXISTS (SELECT FROM model_routes WHERE route_id = $1)"
_ACTOR = "SELECT set_config('ailb.actor', $1, true)"
_MOST_DIGITS = 9


async def act_as(connection: Connection, by: Actor, instance: str) -> None:
    """Tells the triggers of this transaction who acts."""
    who = {
        "name": by.name,
        "key_id": by.key_id,
        "peer": by.peer,
        "request_id": by.request_id,
        "instance": instance,
    }
    await connection.execute(_ACTOR, json.dumps(who))


@dataclass(frozen=True, slots=True)
class PostgresRateLimits:
    """A `RateLimitRecords` and a `RateLimitSource`. `instance` is MODULE_ID."""

    store: Store
    instance: str

    async def enabled(self) -> Sequence[KeptRateLimit]:
        """Those in force. Raises StorageUnavailableError."""
        async with self.store.connection() as connection:
            rows = await connection.fetch(_ENABLED)
        return [
            KeptRateLimit(
                row["number"],
                TargetKind(row["kind"]),
                _limit(row),
                row["key_id"] if row["kind"] == TargetKind.KEY else row["tenant_id"],
            )
            for row in rows
        ]

    async def put(self, limit: RateLimit, target: LimitTarget, most: int, by: Actor) -> None:
        """See `RateLimitRecords`."""
        async with self.store.connection() as connection, connection.transaction():
            await act_as(connection, by, self.instance)
            if await connection.fetchval(_OTHERS, limit.limit_id) >= most:
                raise InvalidRequestError(f"There are {most} rate limits already.")
            key_id = await _key(connection, target) if target.kind is TargetKind.KEY else None
            tenant_id = (
                await _tenant(connection, target) if target.kind is TargetKind.TENANT else None
            )
            if target.kind is TargetKind.ROUTE:
                await _require_route(connection, target)
            await connection.execute(
                _PUT,
                limit.limit_id,
                target.kind.value,
                target.name,
                key_id,
                tenant_id,
                limit.per_second or None,
                limit.per_minute or None,
                limit.per_hour or None,
                limit.burst or None,
                limit.enabled,
                json.dumps(dict(limit.metadata)),
            )

    async def list(self, target: LimitTarget | None) -> Sequence[RateLimit]:
        """See `RateLimitRecords`."""
        kind, name = (target.kind.value, target.name) if target else (None, None)
        key_id = None
        async with self.store.connection() as connection:
            if target is not None and target.kind is TargetKind.KEY:
                ids = await _keys(connection, target)
                key_id = ids[0] if ids else None
            rows = await connection.fetch(_LIST, kind, name, key_id)
        return [_limit(row) for row in rows]

    async def remove(self, limit_id: str, by: Actor) -> bool:
        """See `RateLimitRecords`."""
        async with self.store.connection() as connection, connection.transaction():
            await act_as(connection, by, self.instance)
            return await connection.fetchval(_REMOVE, limit_id) is not None


async def _keys(connection: Connection, target: LimitTarget) -> Sequence[int]:
    number = int(target.name) if _is_number(target.name) else None
    ids = [row["id"] for row in await connection.fetch(_KEYS, number, target.name)]
    return ids[:1] if number in ids else ids


async def _key(connection: Connection, target: LimitTarget) -> int:
    ids = await _keys(connection, target)
    if not ids:
        raise NotFoundError("There is no key of this number or name.", param="target")
    if len(ids) > 1:
        raise InvalidRequestError(
            "Several keys have this name: say the key's number.", param="target"
        )
    return ids[0]


async def _tenant(connection: Connection, target: LimitTarget) -> int:
    found: int | None = await connection.fetchval(_TENANT, target.name)
    if found is None:
        raise NotFoundError("There is no tenant of this name.", param="target")
    return found


async def _require_route(connection: Connection, target: LimitTarget) -> None:
    # A path in its place, say, would be a limit that nothing ever meets.
    if not await connection.fetchval(_IS_ROUTE, target.name):
        raise NotFoundError("There is no model route of this id.", param="target")


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and len(name) <= _MOST_DIGITS


def _limit(row: Row) -> RateLimit:
    metadata: Mapping[str, str] = json.loads(row["metadata"])
    kind, name = row["kind"], row["name"]
    return RateLimit(
        row["limit_id"],
        f"{kind}:{name}" if name else kind,
        row["requests_per_second"] or 0,
        row["requests_per_minute"] or 0,
        row["requests_per_hour"] or 0,
        row["burst"] or 0,
        row["enabled"],
        metadata,
    )
