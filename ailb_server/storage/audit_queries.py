"""The audit log, read."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ailb_server.domain.audit import Actor, AuditEvent, AuditFilter, AuditRecord
from ailb_server.storage.connection import Row
from ailb_server.storage.pool import Store

_LIST = """
SELECT a.id, a.at, a.tenant_id, t.name AS tenant, a.actor, a.actor_key_id, a.peer, a.action,
       a.subject, a.before, a.after, a.times, a.request_id, a.instance, a.outcome
  FROM audit_log a LEFT JOIN tenants t ON t.id = a.tenant_id
 WHERE {where} ORDER BY a.at DESC, a.id DESC LIMIT {limit}
"""
_TENANT = "a.tenant_id = (SELECT id FROM tenants WHERE name = {})"
_BEGINS = "a.action LIKE {} || '%'"


class PostgresAuditQueries:
    """See `api.audit_service.AuditReader`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def events(self, which: AuditFilter, limit: int) -> Sequence[AuditRecord]:
        """The newest first, at most `limit`. Raises StorageUnavailableError."""
        where, values = _where(which)
        query = _LIST.format(where=where, limit=f"${len(values) + 1}")
        async with self._store.connection() as connection:
            rows = await connection.fetch(query, *values, limit)
        return [_record(row) for row in rows]


def _where(which: AuditFilter) -> tuple[str, list[object]]:
    """Only texts of ours; what callers say are the values."""
    begins = which.action.endswith("*")
    action = _escaped(which.action[:-1]) if begins else which.action
    values: list[object] = []
    parts = ["true"]
    narrowing: tuple[tuple[str, object], ...] = (
        ("a.at >= {}", which.start),
        ("a.at < {}", which.end),
        (_BEGINS if begins else "a.action = {}", action or None),
        ("a.actor = {}", which.actor or None),
        ("a.actor_key_id = {}", which.actor_key_id),
        ("a.outcome = {}", which.outcome or None),
        ("a.subject = {}", which.subject or None),
        (_TENANT, which.tenant or None),
        ("a.request_id = {}", which.request_id or None),
    )
    for text, value in narrowing:
        if value is not None:
            values.append(value)
            parts.append(text.format(f"${len(values)}"))
    if which.before is not None:
        parts.append(f"(a.at, a.id) < (${len(values) + 1}, ${len(values) + 2})")
        values += which.before
    return " AND ".join(parts), values


def _escaped(text: str) -> str:
    for special in "\\%_":
        text = text.replace(special, f"\\{special}")
    return text


def _record(row: Row) -> AuditRecord:
    event = AuditEvent(
        row["action"],
        Actor(row["actor"], row["actor_key_id"], row["peer"], row["request_id"]),
        tenant_id=row["tenant_id"],
        subject=row["subject"],
        before=_json(row["before"]),
        after=_json(row["after"]),
        times=row["times"],
        outcome=row["outcome"],
        at=row["at"].timestamp(),
    )
    return AuditRecord(row["id"], row["at"], event, row["tenant"] or "", row["instance"])


def _json(text: str | None) -> Mapping[str, Any] | None:
    if text is None:
        return None
    value = json.loads(text)
    # Others may write rows by SQL, with any JSON.
    return value if isinstance(value, dict) else {"value": value}
