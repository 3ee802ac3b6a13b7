"""The instances in Postgres, by their heartbeats, and how many are wished for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import orjson

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.module import Beat, Instance, InstanceStatus, KnownInstance, ScaleWish
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.connection import Row
from ailb_server.storage.pool import Store

# A row is removed once it has been silent for so long.
FORGOTTEN_AFTER_S = 600.0
_BEAT = """
WITH before AS (
  SELECT boot, heartbeat_at FROM instances WHERE module_id = $1
), forgotten AS (
  DELETE FROM instances WHERE heartbeat_at < now() - $11::interval AND module_id <> $1
), beat AS (
  INSERT INTO instances (module_id, boot, address, version, weight, status, connections,
                         max_connections, metadata, started_at)
  VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::jsonb, $10)
  ON CONFLICT (module_id) DO UPDATE
     SET (boot, address, version, weight, status, connections, max_connections, metadata,
          started_at, heartbeat_at)
       = (excluded.boot, excluded.address, excluded.version, excluded.weight, excluded.status,
          excluded.connections, excluded.max_connections, excluded.metadata, excluded.started_at,
          now())
)
SELECT coalesce((SELECT max(version) FROM config_overlay), 0) AS overlay,
       EXISTS (SELECT FROM before WHERE boot <> $2 AND heartbeat_at > now() - $12::interval)
         AS double
"""
_LEAVE = "DELETE FROM instances WHERE module_id = $1 AND boot = $2"
_LIST = """
SELECT *, extract(epoch FROM started_at)::float8 AS started,
       extract(epoch FROM now() - heartbeat_at)::float8 AS age_s
  FROM instances ORDER BY module_id
"""
_WISH = """
INSERT INTO scale_wish (min_instances, max_instances, details, wished_by)
VALUES ($1, $2, $3::jsonb, $4)
ON CONFLICT (one) DO UPDATE
   SET (min_instances, max_instances, details, wished_by, wished_at)
     = (excluded.min_instances, excluded.max_instances, excluded.details, excluded.wished_by, now())
"""
_COLUMNS = frozenset({"min_instances", "max_instances"})
_WISHED = "SELECT min_instances, max_instances, details FROM scale_wish"


@dataclass(frozen=True, slots=True)
class PostgresInstances:
    """All raise StorageUnavailableError. `silent_s`: a row that is older is of a dead process."""

    store: Store
    audit: PostgresAuditLog
    silent_s: float

    async def beat(self, me: Instance) -> Beat:
        """Writes this instance's row, and removes those that nobody will write any more."""
        values = (
            *(me.module_id, me.boot, me.address, me.version, me.weight, me.status.value),
            *(me.connections, me.max_connections, orjson.dumps(dict(me.metadata)).decode()),
            *(datetime.fromtimestamp(me.started_at, UTC), timedelta(seconds=FORGOTTEN_AFTER_S)),
            timedelta(seconds=self.silent_s),
        )
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_BEAT, *values)
        return Beat(0) if row is None else Beat(row["overlay"], row["double"])

    async def leave(self, me: Instance) -> None:
        """Removes this process's row."""
        async with self.store.connection() as connection:
            await connection.execute(_LEAVE, me.module_id, me.boot)

    async def list(self) -> Sequence[KnownInstance]:
        """By MODULE_ID."""
        async with self.store.connection() as connection:
            return [_known(row) for row in await connection.fetch(_LIST)]

    async def wish(self, wish: ScaleWish, by: Actor) -> None:
        """Records it, in place of the former one."""
        event = AuditEvent("scale.wished", by, subject="instances", after=wish.told())
        details = {name: value for name, value in wish.told().items() if name not in _COLUMNS}
        async with self.store.connection() as connection, connection.transaction():
            told = orjson.dumps(details).decode()
            await connection.execute(
                _WISH, wish.min_instances, wish.max_instances, told, by.name or by.peer
            )
            await self.audit.append_with(connection, event)

    async def wished(self) -> ScaleWish | None:
        """None if nobody has wished."""
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_WISHED)
        if row is None:
            return None
        return ScaleWish(row["min_instances"], row["max_instances"], **orjson.loads(row["details"]))


def _known(row: Row) -> KnownInstance:
    instance = Instance(
        module_id=row["module_id"],
        boot=str(row["boot"]),
        address=row["address"],
        version=row["version"],
        started_at=row["started"],
        status=InstanceStatus(row["status"]),
        weight=row["weight"],
        connections=row["connections"],
        max_connections=row["max_connections"],
        metadata=orjson.loads(row["metadata"]),
    )
    return KnownInstance(instance, row["age_s"])
