"""The audit log: rows are only ever added."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from ailb_server.domain.audit import AuditEvent
from ailb_server.storage.connection import Connection
from ailb_server.storage.pool import Store

_APPEND = "SELECT audit($1, $2, $3, $4, $5, $6, $7::jsonb, $8::jsonb, $9, $10, $11, $12, $13)"
# A statement of its own: `audit` may have to attach a month, which nothing may be reading then.
_IS_THERE = """
SELECT EXISTS (
  SELECT FROM audit_log
   WHERE at = $1 AND (instance, action, actor, subject) = ($2, $3, $4, $5))
"""
# Of `before` and `after`, as JSON.
MAX_JSON = 64 * 1024


@dataclass(frozen=True, slots=True)
class PostgresAuditLog:
    """`instance` is MODULE_ID."""

    store: Store
    instance: str

    async def append(self, event: AuditEvent) -> None:
        """Adds a row, but not of an event that is there: one of the same time. Raises
        StorageUnavailableError."""
        async with self.store.connection() as connection:
            await self.append_with(connection, event)

    async def append_with(self, connection: Connection, event: AuditEvent) -> None:
        """As `append`, within the transaction of what it tells."""
        actor = event.actor
        at = None if event.at is None else datetime.fromtimestamp(event.at, UTC)
        if at is not None and await self._is_there(connection, event, at):
            return
        await connection.execute(
            _APPEND,
            event.tenant_id,
            _text(actor.name),
            actor.key_id,
            _text(actor.peer),
            event.action,
            _text(event.subject),
            _json(event.before),
            _json(event.after),
            event.times,
            _text(actor.request_id),
            self.instance,
            event.outcome,
            at,
        )

    async def _is_there(self, connection: Connection, event: AuditEvent, at: datetime) -> bool:
        """Whether a commit whose end was not heard has been: see `access.audit_queue`."""
        names = (event.action, _text(event.actor.name), _text(event.subject))
        return bool(await connection.fetchval(_IS_THERE, at, self.instance, *names))


def _json(value: Mapping[str, object] | None) -> str | None:
    if value is None:
        return None
    text = json.dumps(_storable(value))
    return text if len(text) <= MAX_JSON else json.dumps({"omitted_characters": len(text)})


def _storable(value: object) -> object:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping):
        return {_text(str(name)): _storable(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [_storable(member) for member in value]
    return value


def _text(text: str) -> str:
    # Others' words may hold what Postgres has not: NUL, and half a character of UTF-16.
    return text.replace("\0", "").encode("utf-8", "replace").decode()
