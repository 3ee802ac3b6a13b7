"""Numbers of providers, by which their limits are kept."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from ailb_server.storage.pool import Store

_ADD = """
INSERT INTO limited_providers (name)
SELECT n FROM unnest($1::text[]) n
 WHERE NOT EXISTS (SELECT FROM limited_providers p WHERE p.name = n)
ON CONFLICT (name) DO NOTHING
"""
_FIND = "SELECT name, id FROM limited_providers WHERE name = ANY ($1::text[])"


@dataclass(frozen=True, slots=True)
class PostgresProviderNumbers:
    """Given once, the same for every instance."""

    store: Store

    async def numbers(self, names: Collection[str]) -> Mapping[str, int]:
        """By name. Raises StorageUnavailableError."""
        told = sorted(names)
        async with self.store.connection() as connection:
            await connection.execute(_ADD, told)
            rows = await connection.fetch(_FIND, told)
        return {row["name"]: row["id"] for row in rows}
