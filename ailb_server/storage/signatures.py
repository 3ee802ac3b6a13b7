"""What checks of signed requests ask Postgres: keys by number, and what was used before."""

from dataclasses import dataclass
from datetime import UTC, datetime

from ailb_server.domain.api_key import SigningKey
from ailb_server.storage.api_keys import KEY_COLUMNS, KEY_FROM, read_key
from ailb_server.storage.pool import Store

_FIND = f"SELECT {KEY_COLUMNS}, k.digest, k.previous_digest {KEY_FROM} WHERE k.id = $1"
_USE = """
INSERT INTO used_nonces (key_id, nonce, forget_after) VALUES ($1, $2, $3)
ON CONFLICT DO NOTHING RETURNING true
"""
# A bounded bite; another instance's bite at the same time takes other rows.
_FORGET = """
DELETE FROM used_nonces WHERE (key_id, nonce) IN (
  SELECT key_id, nonce FROM used_nonces WHERE forget_after < now()
   ORDER BY forget_after LIMIT $1 FOR UPDATE SKIP LOCKED)
"""
FORGET_ROWS = 5000


@dataclass(frozen=True, slots=True)
class PostgresSignatures:
    """Raises StorageUnavailableError."""

    store: Store

    async def signing_key(self, key_id: int) -> SigningKey | None:
        """A key by its number, with the digests of its secrets."""
        async with self.store.connection() as connection:
            row = await connection.fetchrow(_FIND, key_id)
        if row is None:
            return None
        key = read_key(row)
        end = key.terms.expires_at
        digests = [(bytes(row["digest"]), end)]
        if row["previous_digest"] is not None:
            ends = [moment for moment in (end, key.previous_expires_at) if moment is not None]
            digests.append((bytes(row["previous_digest"]), min(ends)))
        return SigningKey(key, digests)

    async def use_once(self, key_id: int, nonce: str, until: float) -> bool:
        """False if it was used before, on whichever instance."""
        moment = datetime.fromtimestamp(until, UTC)
        async with self.store.connection() as connection:
            return bool(await connection.fetchval(_USE, key_id, nonce, moment))

    async def forget(self) -> bool:
        """Removes what may be forgotten, FORGET_ROWS at most; whether there may be more."""
        async with self.store.connection() as connection:
            done = await connection.execute(_FORGET, FORGET_ROWS)
        return str(done) == f"DELETE {FORGET_ROWS}"
