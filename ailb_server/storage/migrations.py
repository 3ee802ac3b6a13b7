"""Applies `migrations/NNNN_what.sql`: plain SQL, forward only, each file once.

docs/decisions/0003-migrations.md has the reasons and the rules for writing a file.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

import asyncpg

from ailb_server.storage.connection import Row
from ailb_server.storage.dsn import place
from ailb_server.storage.migration_files import MigrationError, MigrationFile, load_files
from ailb_server.storage.outage import OUTAGES, refusal

__all__ = ["MigrationError", "MigrationState", "MigrationStatus", "migrate", "status"]

_LOCK = 0x41494C42  # "AILB"
_LOCK_POLL_S = 0.1
_CONNECT_TIMEOUT_S = 10.0
_CLOSE_TIMEOUT_S = 5.0

_TABLE = """
CREATE TABLE schema_migrations (
  version integer PRIMARY KEY,
  name text NOT NULL,
  sha256 text NOT NULL,
  applied_at timestamptz NOT NULL DEFAULT now(),
  ms integer NOT NULL
);
COMMENT ON TABLE schema_migrations IS 'The migrations that made this schema; written by AILB.';
COMMENT ON COLUMN schema_migrations.version IS 'The number that the file''s name begins with.';
COMMENT ON COLUMN schema_migrations.name IS 'The file''s name.';
COMMENT ON COLUMN schema_migrations.sha256 IS 'Of the file''s text, with LF line ends, in hex.';
COMMENT ON COLUMN schema_migrations.applied_at IS 'When it was applied.';
COMMENT ON COLUMN schema_migrations.ms IS 'How many milliseconds it took.';
"""
_RECORD = "INSERT INTO schema_migrations (version, name, sha256, ms) VALUES ($1, $2, $3, $4)"


class MigrationState(StrEnum):
    """How a file and the database stand to each other."""

    APPLIED = "applied"
    PENDING = "pending"
    CHANGED = "changed"
    """The file is not what was applied."""
    UNKNOWN = "unknown"
    """Applied by a newer AILB; there is no such file."""


@dataclass(frozen=True)
class MigrationStatus:
    """One migration; `applied_at` is None if it is pending."""

    name: str
    state: MigrationState
    applied_at: datetime | None


async def migrate(dsn: str, directory: Path, *, lock_timeout_s: float = 120.0) -> list[str]:
    """Applies the files of `directory` that `dsn` lacks; returns their names in order.

    Any number of processes may do so at once: one applies, the others wait, for at most
    `lock_timeout_s`, and find nothing left to do. The same time bounds the wait for each lock on a
    table. Raises `MigrationError` or, if Postgres cannot be reached, `StoreUnavailableError`.
    """
    files = load_files(directory)
    async with _session(dsn) as connection:
        await _lock(connection, lock_timeout_s)
        pending = _pending(files, await _applied(connection))
        if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
            await connection.execute(_TABLE)
        for file in pending:
            await _apply(connection, file, lock_timeout_s)
    return [file.name for file in pending]


async def status(dsn: str, directory: Path) -> list[MigrationStatus]:
    """What is applied and what is not, by version; changes nothing. Raises as `migrate` does."""
    files = {file.version: file for file in load_files(directory)}
    async with _session(dsn) as connection:
        applied = await _applied(connection)
    return [
        _status(files.get(version), applied.get(version))
        for version in sorted(files.keys() | applied.keys())
    ]


def _status(file: MigrationFile | None, row: Row | None) -> MigrationStatus:
    if row is None:
        return MigrationStatus(file.name if file else "", MigrationState.PENDING, None)
    state = MigrationState.APPLIED
    if file is None:
        state = MigrationState.UNKNOWN
    elif file.sha256 != row["sha256"]:
        state = MigrationState.CHANGED
    return MigrationStatus(row["name"], state, row["applied_at"])


@asynccontextmanager
async def _session(dsn: str) -> AsyncIterator[asyncpg.Connection]:
    where = place(dsn)
    try:
        connection = await asyncpg.connect(
            dsn,
            timeout=_CONNECT_TIMEOUT_S,
            statement_cache_size=0,
            server_settings={"application_name": "ailb migrate", "statement_timeout": "0"},
        )
    except (*OUTAGES, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise refusal(where, error) from error
    try:
        yield connection
    except (*OUTAGES, asyncpg.InterfaceError) as error:
        raise refusal(where, error) from error
    except asyncpg.PostgresError as error:
        raise MigrationError(f"cannot migrate {where}: {error}") from error
    finally:
        # Ends the session and with it the lock; a broken one has ended already.
        with suppress(*OUTAGES, asyncpg.InterfaceError):
            await connection.close(timeout=_CLOSE_TIMEOUT_S)


async def _lock(connection: asyncpg.Connection, timeout_s: float) -> None:
    # Polled: a session that waits inside pg_advisory_lock() holds a snapshot, which CREATE INDEX
    # CONCURRENTLY of the session that has the lock would wait for: a deadlock.
    deadline = time.monotonic() + timeout_s
    while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", _LOCK):
        if time.monotonic() > deadline:
            raise MigrationError(f"another process has been migrating for over {timeout_s:g} s")
        await asyncio.sleep(_LOCK_POLL_S)


async def _applied(connection: asyncpg.Connection) -> dict[int, Row]:
    if await connection.fetchval("SELECT to_regclass('schema_migrations')") is None:
        return {}
    rows = await connection.fetch("SELECT version, name, sha256, applied_at FROM schema_migrations")
    return {row["version"]: row for row in rows}


def _pending(files: Sequence[MigrationFile], applied: Mapping[int, Row]) -> list[MigrationFile]:
    known = {file.version for file in files}
    if unknown := sorted(row["name"] for row in applied.values() if row["version"] not in known):
        raise MigrationError(
            f"the database was migrated by a newer AILB (it has {', '.join(unknown)}):"
            " run that version, or restore a backup"
        )
    for file in files:
        if file.version in applied:
            if applied[file.version]["sha256"] != file.sha256:
                raise MigrationError(
                    f"{file.name} was changed after it was applied: restore it, and put the change"
                    " into a new file"
                )
        elif applied and file.version < max(applied):
            raise MigrationError(
                f"{file.name} comes before files that are applied already: give it a higher number"
            )
    return [file for file in files if file.version not in applied]


async def _apply(
    connection: asyncpg.Connection, file: MigrationFile, lock_timeout_s: float
) -> None:
    if file.transactional:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = {int(lock_timeout_s * 1000)}")
            await _run(connection, file)
    else:
        await _run(connection, file)


async def _run(connection: asyncpg.Connection, file: MigrationFile) -> None:
    started = time.perf_counter()
    for line, statement in file.blocks():
        try:
            await connection.execute(statement)
        except asyncpg.PostgresError as error:
            if isinstance(error, OUTAGES):
                raise
            raise MigrationError(file.failure(error, line, statement)) from error
    if file.transactional and not connection.is_in_transaction():
        raise MigrationError(f"{file.name} must not contain COMMIT or ROLLBACK")
    ms = round((time.perf_counter() - started) * 1000)
    await connection.execute(_RECORD, file.version, file.name, file.sha256, ms)
