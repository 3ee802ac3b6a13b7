"""The part of asyncpg's connection that the store's modules use."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]


class Connection(Protocol):
    """A connection to Postgres; asyncpg's documentation has the details of each method."""

    def transaction(self) -> AbstractAsyncContextManager[object]:
        """Commits at its end, rolls back on an error."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Runs a statement or, without arguments, several; returns the last one's tag."""
        ...

    async def executemany(self, command: str, args: Iterable[Sequence[object]]) -> None:
        """Runs one statement for each tuple of arguments, all or nothing."""
        ...

    async def fetch(self, query: str, *args: object) -> Sequence[Row]:
        """All rows."""
        ...

    async def fetchrow(self, query: str, *args: object) -> Row | None:
        """The first row."""
        ...

    async def fetchval(self, query: str, *args: object) -> Any:
        """The first column of the first row."""
        ...

    async def copy_records_to_table(
        self, table_name: str, *, records: Iterable[Sequence[object]], columns: Sequence[str]
    ) -> str:
        """COPY FROM: the cheapest way to insert many rows."""
        ...


class Connections(Protocol):
    """Where a connection is had from: `pool.Store`, or something that has one in hand."""

    def connection(self) -> AbstractAsyncContextManager[Connection]:
        """See `pool.Store.connection`."""
        ...
