"""What was changed of the configuration at run time, in Postgres."""

from dataclasses import dataclass

import orjson

from ailb_server.domain.audit import AuditEvent
from ailb_server.domain.module import Overlay
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.connection import Connection
from ailb_server.storage.pool import Store

# The payload is the overlay's version.
CHANNEL = "ailb_config"
_READ = "SELECT config_type, data, version FROM config_overlay"
# Versions must become visible in their order: who has seen one must not miss an earlier one.
_LOCK = "LOCK TABLE config_overlay IN SHARE ROW EXCLUSIVE MODE"
_PUT = """
INSERT INTO config_overlay (config_type, data, version, updated_by)
VALUES ($1, $2::jsonb, (SELECT coalesce(max(version), 0) + 1 FROM config_overlay), $3)
ON CONFLICT (config_type) DO UPDATE
   SET (data, version, updated_by, updated_at)
     = (excluded.data, excluded.version, excluded.updated_by, now())
RETURNING version
"""


@dataclass(frozen=True, slots=True)
class PostgresOverlays:
    """Both raise StorageUnavailableError."""

    store: Store
    audit: PostgresAuditLog

    async def read(self) -> Overlay:
        """As it is now."""
        async with self.store.connection() as connection:
            return await _read(connection)

    async def put(self, part: str, data: object | None, event: AuditEvent) -> Overlay:
        """Changes one part, or takes it away, and tells every instance; returns the whole."""
        text = None if data is None else orjson.dumps(data).decode()
        async with self.store.connection() as connection, connection.transaction():
            await connection.execute(_LOCK)
            await connection.fetchval(_PUT, part, text, event.actor.name or event.actor.peer)
            await self.audit.append_with(connection, event)
            return await _read(connection)


async def _read(connection: Connection) -> Overlay:
    rows = await connection.fetch(_READ)
    parts = {
        row["config_type"]: orjson.loads(row["data"]) for row in rows if row["data"] is not None
    }
    return Overlay(max((row["version"] for row in rows), default=0), parts)
