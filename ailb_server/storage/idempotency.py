"""Idempotency-Keys in Postgres: claims, leases and answers, shared by all instances."""

from datetime import timedelta

from ailb_server.domain.repeats import Claim, OnceName, Taken
from ailb_server.storage.connection import Connection
from ailb_server.storage.pool import Store

KEPT = timedelta(hours=24)
MAX_SWEPT = 500
# A row that goes between the claim that meets it and the look at it.
_TRIES = 3

# One statement, and so one of all that come at once has it.
_CLAIM = """
INSERT INTO idempotent_requests AS held
  (tenant_id, key_id, name_digest, request_digest, lease_until, expires_at)
VALUES ($1, $2, $3, $4, now() + $5::interval, now() + $6::interval)
ON CONFLICT (tenant_id, key_id, name_digest) DO UPDATE
   SET request_digest = EXCLUDED.request_digest, holder = EXCLUDED.holder,
       begun_at = EXCLUDED.begun_at, lease_until = EXCLUDED.lease_until,
       expires_at = EXCLUDED.expires_at, answered_at = NULL, recording = NULL
 WHERE held.expires_at <= now() OR (held.answered_at IS NULL AND held.lease_until <= now())
RETURNING held.holder::text
"""
_READ = """
SELECT request_digest = $4 AS same, answered_at IS NOT NULL AS done,
       CASE WHEN request_digest = $4 THEN recording END AS recording
  FROM idempotent_requests WHERE tenant_id = $1 AND key_id = $2 AND name_digest = $3
"""
_HELD = """
 WHERE tenant_id = $1 AND key_id = $2 AND name_digest = $3 AND holder = $4::uuid
   AND answered_at IS NULL
"""
_RENEW = f"UPDATE idempotent_requests SET lease_until = now() + $5::interval {_HELD}"  # noqa: S608
_FINISH = f"UPDATE idempotent_requests SET answered_at = now(), recording = $5 {_HELD}"  # noqa: S608
_RELEASE = f"DELETE FROM idempotent_requests {_HELD}"  # noqa: S608
SWEEP = f"""
DELETE FROM idempotent_requests WHERE ctid = ANY (ARRAY(
  SELECT ctid FROM idempotent_requests WHERE expires_at <= now()
   ORDER BY expires_at LIMIT {MAX_SWEPT} FOR UPDATE SKIP LOCKED))
"""  # noqa: S608 - a constant


class PostgresOnceStore:
    """An `OnceStore`. All times are of Postgres's clock; a claim that is not renewed for `lease_s`
    is anybody's."""

    def __init__(self, store: Store, lease_s: float) -> None:
        self._store = store
        self._lease = timedelta(seconds=lease_s)

    async def claim(self, name: OnceName, body: bytes) -> Claim | Taken:
        """See `OnceStore`."""
        async with self._store.connection() as connection:
            for _ in range(_TRIES):
                holder = await connection.fetchval(_CLAIM, *_key(name), body, self._lease, KEPT)
                if holder is not None:
                    return Claim(name, holder)
                taken = await _taken(connection, name, body)
                if taken is not None:
                    return taken
        return Taken(same=True)

    async def renew(self, claim: Claim) -> bool:
        """See `OnceStore`."""
        return await self._change(_RENEW, claim, self._lease)

    async def finish(self, claim: Claim, recording: bytes | None) -> bool:
        """See `OnceStore`."""
        return await self._change(_FINISH, claim, recording)

    async def release(self, claim: Claim) -> None:
        """See `OnceStore`."""
        await self._change(_RELEASE, claim)

    async def sweep(self) -> bool:
        """See `OnceStore`; at most `MAX_SWEPT`."""
        async with self._store.connection() as connection:
            return _count(await connection.execute(SWEEP)) == MAX_SWEPT

    async def _change(self, statement: str, claim: Claim, *values: object) -> bool:
        async with self._store.connection() as connection:
            tag = await connection.execute(statement, *_key(claim.name), claim.holder, *values)
        return _count(tag) == 1


async def _taken(connection: Connection, name: OnceName, body: bytes) -> Taken | None:
    row = await connection.fetchrow(_READ, *_key(name), body)
    return None if row is None else Taken(row["same"], row["done"], row["recording"])


def _key(name: OnceName) -> tuple[int, int, bytes]:
    return name.tenant_id, name.key_id, name.digest


def _count(tag: str) -> int:
    """Of a tag such as `DELETE 3`."""
    return int(tag.rpartition(" ")[2])
