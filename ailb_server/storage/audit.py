"""The audit log: rows are only ever added."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from ailb_server.domain.api_key import AuditEvent
from ailb_server.storage.connection import Connection
from ailb_server.storage.pool import Store

_APPEND = "SELECT audit($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9, $10, $11)"


@dataclass(frozen=True, slots=True)
class PostgresAuditLog:
    """`instance` is MODULE_ID."""

    store: Store
    instance: str

    async def append(self, event: AuditEvent) -> None:
        """Adds a row. Raises StorageUnavailableError."""
        async with self.store.connection() as connection:
            await self.append_with(connection, event)

    async def append_with(self, connection: Connection, event: AuditEvent) -> None:
        """Adds a row within the transaction of what it tells."""
        actor = event.actor
        await connection.execute(
            _APPEND,
            event.tenant_id,
            actor.name,
            actor.key_id,
            actor.peer,
            event.action,
            event.subject,
            _json(event.before),
            _json(event.after),
            event.times,
            actor.request_id,
            self.instance,
        )


def _json(value: Mapping[str, object] | None) -> str | None:
    return None if value is None else json.dumps(value)
