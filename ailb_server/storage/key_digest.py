"""How secrets are digested: one row, written once and never again while there are keys."""

from dataclasses import dataclass, field

from ailb_server.storage.pool import Store

_READ = "SELECT pepper, fingerprint FROM key_digest"
_FIRST = "INSERT INTO key_digest (pepper, fingerprint) VALUES ($1, $2) ON CONFLICT DO NOTHING"
_REPLACE = """
UPDATE key_digest SET pepper = $1, fingerprint = $2
 WHERE NOT EXISTS (SELECT FROM api_keys)
RETURNING true
"""


@dataclass(frozen=True, slots=True)
class KeptPepper:
    """`pepper` is None where the setting has it."""

    pepper: bytes | None = field(repr=False)
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class PostgresKeyDigest:
    """The row. Raises StorageUnavailableError."""

    store: Store

    async def first(self, wanted: KeptPepper) -> KeptPepper:
        """What is kept; `wanted` if that is nothing yet."""
        async with self.store.connection() as connection:
            await connection.execute(_FIRST, wanted.pepper, wanted.fingerprint)
            row = await connection.fetchrow(_READ)
        if row is None:
            raise LookupError("key_digest has no row after one was written")
        return KeptPepper(row["pepper"], row["fingerprint"])

    async def replace(self, wanted: KeptPepper) -> bool:
        """Replaces what is kept, unless there are keys: those could never be recognised again."""
        async with self.store.connection() as connection:
            return bool(await connection.fetchval(_REPLACE, wanted.pepper, wanted.fingerprint))
