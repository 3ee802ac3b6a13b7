"""API keys in Postgres. Every change is one transaction with its row in the audit log.

Keys are the operator's, of every tenant; what a key's callers may see is not decided here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ailb_server.domain.api_key import ApiKey, KeyQuery, KeyTerms, Match, NewKey, Secret
from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import KeyLimits, Role
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.pool import Store

_COLUMNS = """
k.id, k.tenant_id, t.name AS tenant, k.name, k.role, k.prefix, k.previous_prefix,
k.previous_expires_at, k.allowed_models, k.allowed_collections, k.requests_per_minute,
k.tokens_per_minute, k.max_concurrent, k.monthly_budget_micro_dollars, k.metadata, k.version,
k.created_at, k.updated_at, k.expires_at, k.revoked_at,
t.requests_per_minute AS tenant_requests_per_minute,
t.tokens_per_minute AS tenant_tokens_per_minute,
t.max_concurrent AS tenant_max_concurrent,
t.monthly_budget_micro_dollars AS tenant_monthly_budget_micro_dollars
"""
_FROM = "FROM api_keys k JOIN tenants t ON t.id = k.tenant_id"
_FIND = f"""
SELECT {_COLUMNS}, k.digest = $1 AS is_current {_FROM} WHERE k.digest = $1 OR k.previous_digest = $1
"""
_GET = f"SELECT {_COLUMNS} {_FROM} WHERE k.id = $1"
_LOCK = f"{_GET} FOR UPDATE OF k"
_LIST = f"""
SELECT {_COLUMNS} {_FROM}
 WHERE k.id > $1 AND ($2 = '' OR k.tenant_id = (SELECT id FROM tenants WHERE name = $2))
   AND ($3 OR k.revoked_at IS NULL)
 ORDER BY k.id LIMIT $4
"""  # noqa: S608
_MAKE_TENANT = "INSERT INTO tenants (name) VALUES ($1) ON CONFLICT (name) DO NOTHING"
_CREATE = """
INSERT INTO api_keys
  (tenant_id, role, prefix, digest, name, allowed_models, allowed_collections,
   requests_per_minute, tokens_per_minute, max_concurrent, monthly_budget_micro_dollars,
   expires_at, metadata)
VALUES ((SELECT id FROM tenants WHERE name = $1), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12,
        $13::jsonb)
RETURNING id
"""
_UPDATE = """
UPDATE api_keys
   SET name = $2, allowed_models = $3, allowed_collections = $4, requests_per_minute = $5,
       tokens_per_minute = $6, max_concurrent = $7, monthly_budget_micro_dollars = $8,
       expires_at = $9, metadata = $10::jsonb
 WHERE id = $1
"""
_ROTATE = """
UPDATE api_keys
   SET previous_prefix = CASE WHEN $4 > 0 THEN prefix END,
       previous_digest = CASE WHEN $4 > 0 THEN digest END,
       previous_expires_at = CASE WHEN $4 > 0 THEN now() + make_interval(secs => $4) END,
       prefix = $2, digest = $3
 WHERE id = $1
"""
_REVOKE = "UPDATE api_keys SET revoked_at = now() WHERE id = $1"
_ANY_ADMIN = """
SELECT EXISTS (SELECT FROM api_keys WHERE role = 'admin' AND revoked_at IS NULL
                  AND (expires_at IS NULL OR expires_at > now()))
"""


@dataclass(frozen=True, slots=True)
class PostgresApiKeys:
    """The keys of every tenant."""

    store: Store
    audit: PostgresAuditLog

    async def find(self, digest: bytes) -> Match | None:
        """The key of a digest, that of its previous secret too."""
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_FIND, digest)
        if row is None:
            return None
        key = _key(row)
        ends = [key.terms.expires_at]
        if not row["is_current"]:
            ends.append(key.previous_expires_at)
        return Match(key, min((end for end in ends if end is not None), default=None))

    async def has_admin(self) -> bool:
        """Whether there is a good key with the role admin."""
        async with self.store.connection() as connection:
            return bool(await connection.fetchval(_ANY_ADMIN))

    async def create(self, new: NewKey, secret: Secret, by: Actor) -> ApiKey:
        """Makes a key, and its tenant if that is missing."""
        async with self.store.connection() as connection, connection.transaction():
            await connection.execute(_MAKE_TENANT, new.tenant)
            key_id = await connection.fetchval(
                _CREATE,
                new.tenant,
                new.role.value,
                secret.prefix,
                secret.digest,
                *_values(new.terms),
            )
            key = await _required(connection, key_id)
            await self._tell(connection, "key.created", by, None, key)
        return key

    async def get(self, key_id: int) -> ApiKey | None:
        """One key."""
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_GET, key_id)
        return None if row is None else _key(row)

    async def list(self, query: KeyQuery) -> Sequence[ApiKey]:
        """By id; of one tenant if its name is not empty."""
        values = (query.after_id, query.tenant, query.show_revoked, query.limit)
        async with self.store.connection() as connection:
            rows = await connection.fetch(_LIST, *values)
        return [_key(row) for row in rows]

    async def update(
        self, key_id: int, change: Callable[[KeyTerms], KeyTerms], by: Actor
    ) -> ApiKey | None:
        """Changes a key's terms under a lock on its row."""
        async with self.store.connection() as connection, connection.transaction():
            before = await _locked(connection, key_id)
            if before is None:
                return None
            await connection.execute(_UPDATE, key_id, *_values(change(before.terms)))
            return await self._changed(connection, "key.updated", by, before)

    async def rotate(self, key_id: int, secret: Secret, grace_s: float, by: Actor) -> ApiKey | None:
        """Replaces a key's secret. Raises InvalidRequestError for a revoked key."""
        async with self.store.connection() as connection, connection.transaction():
            before = await _locked(connection, key_id)
            if before is None:
                return None
            if before.revoked_at is not None:
                raise InvalidRequestError("The key is revoked: make a new one.", param="id")
            await connection.execute(_ROTATE, key_id, secret.prefix, secret.digest, float(grace_s))
            return await self._changed(connection, "key.rotated", by, before)

    async def revoke(self, key_id: int, by: Actor) -> ApiKey | None:
        """Takes a key back, if it is not already."""
        async with self.store.connection() as connection, connection.transaction():
            before = await _locked(connection, key_id)
            if before is None or before.revoked_at is not None:
                return before
            await connection.execute(_REVOKE, key_id)
            return await self._changed(connection, "key.revoked", by, before)

    async def _changed(
        self, connection: Connection, action: str, by: Actor, before: ApiKey
    ) -> ApiKey:
        after = await _required(connection, before.id)
        await self._tell(connection, action, by, before, after)
        return after

    async def _tell(
        self, connection: Connection, action: str, by: Actor, before: ApiKey | None, after: ApiKey
    ) -> None:
        event = AuditEvent(
            action,
            by,
            tenant_id=after.tenant_id,
            subject=f"key {after.id}",
            before=None if before is None else _described(before),
            after=_described(after),
        )
        await self.audit.append_with(connection, event)


async def _locked(connection: Connection, key_id: int) -> ApiKey | None:
    row = await connection.fetchrow(_LOCK, key_id)
    return None if row is None else _key(row)


async def _required(connection: Connection, key_id: int) -> ApiKey:
    row = await connection.fetchrow(_GET, key_id)
    if row is None:
        raise LookupError("a key is gone within the transaction that wrote it")
    return _key(row)


def _key(row: Row) -> ApiKey:
    return ApiKey(
        id=row["id"],
        tenant_id=row["tenant_id"],
        tenant=row["tenant"],
        role=Role(row["role"]),
        terms=KeyTerms(
            name=row["name"],
            allowed_models=tuple(row["allowed_models"]),
            allowed_collections=tuple(row["allowed_collections"]),
            limits=_limits(row),
            expires_at=_seconds(row["expires_at"]),
            metadata=json.loads(row["metadata"]),
        ),
        prefix=row["prefix"],
        version=row["version"],
        created_at=row["created_at"].timestamp(),
        updated_at=row["updated_at"].timestamp(),
        revoked_at=_seconds(row["revoked_at"]),
        previous_prefix=row["previous_prefix"],
        previous_expires_at=_seconds(row["previous_expires_at"]),
        tenant_limits=_limits(row, "tenant_"),
    )


def _limits(row: Row, prefix: str = "") -> KeyLimits:
    return KeyLimits(
        row[f"{prefix}requests_per_minute"],
        row[f"{prefix}tokens_per_minute"],
        row[f"{prefix}max_concurrent"],
        row[f"{prefix}monthly_budget_micro_dollars"],
    )


def _values(terms: KeyTerms) -> tuple[object, ...]:
    """In the order of _CREATE and _UPDATE."""
    limits = terms.limits
    return (
        terms.name,
        list(terms.allowed_models),
        list(terms.allowed_collections),
        limits.requests_per_minute,
        limits.tokens_per_minute,
        limits.max_concurrent,
        limits.monthly_budget_micro_dollars,
        None if terms.expires_at is None else datetime.fromtimestamp(terms.expires_at, UTC),
        json.dumps(dict(terms.metadata)),
    )


def _described(key: ApiKey) -> Mapping[str, object]:
    """What the audit log may know: no digest."""
    limits = key.terms.limits
    return {
        "tenant": key.tenant,
        "name": key.terms.name,
        "role": key.role.value,
        "prefix": key.prefix,
        "previous_prefix": key.previous_prefix,
        "previous_expires_at": _text(key.previous_expires_at),
        "allowed_models": list(key.terms.allowed_models),
        "allowed_collections": list(key.terms.allowed_collections),
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "max_concurrent": limits.max_concurrent,
        "monthly_budget_micro_dollars": limits.monthly_budget_micro_dollars,
        "metadata": dict(key.terms.metadata),
        "expires_at": _text(key.terms.expires_at),
        "revoked_at": _text(key.revoked_at),
    }


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()


def _text(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
