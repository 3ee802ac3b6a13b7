"""Migrations, as the operator who runs and the developer who writes them meet them."""

import asyncio
import json
import os
from pathlib import Path

import asyncpg
import pytest

from ailb_server.storage.migrations import MigrationError, MigrationState, migrate, status
from ailb_server.storage.outage import StoreUnavailableError
from tests.support.postgres import REPOSITORY, database_dsn, psql, python_for, run_as, sql

SHIPPED = REPOSITORY / "migrations"
NO_TRANSACTION = "-- no-transaction"
FIRST = "CREATE TABLE first (id integer);\nINSERT INTO first VALUES (1);\n"
CONCURRENTLY = """-- no-transaction
CREATE INDEX CONCURRENTLY IF NOT EXISTS first_id ON first (id);
--;
CREATE INDEX CONCURRENTLY IF NOT EXISTS first_id_down ON first (id DESC);
"""
RACER = """
import asyncio, json, pathlib, sys
from ailb_server.storage.migrations import migrate
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(asyncio.run(migrate(sys.argv[1], pathlib.Path(sys.argv[2])))))
"""


def write(directory: Path, **files: str) -> Path:
    """Files by their names without `.sql`, with `_` before the number."""
    for name, text in files.items():
        (directory / f"{name.removeprefix('_')}.sql").write_text(text)
    return directory


async def test_the_shipped_ones_apply_once_and_explain_themselves(postgres_dsn: str) -> None:
    names = sorted(path.name for path in SHIPPED.iterdir())
    assert [entry.state for entry in await status(postgres_dsn, SHIPPED)] == ["pending"] * len(
        names
    )
    assert await migrate(postgres_dsn, SHIPPED) == names
    assert await migrate(postgres_dsn, SHIPPED) == []
    applied = await status(postgres_dsn, SHIPPED)
    assert [(entry.name, entry.state) for entry in applied] == [(n, "applied") for n in names]
    without_comment = sql(
        postgres_dsn,
        """SELECT c.relname, a.attname FROM pg_class c
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
             LEFT JOIN pg_description d ON d.objoid = c.oid AND d.objsubid IN (0, a.attnum)
            WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
            GROUP BY 1, 2 HAVING count(d) < 2""",
    )
    assert without_comment == ""


@pytest.mark.parametrize("path", sorted(SHIPPED.iterdir()), ids=lambda path: path.name)
def test_psql_can_run_every_shipped_one(postgres_dsn: str, tmp_path: Path, path: Path) -> None:
    for earlier in SHIPPED.iterdir():
        if earlier.name < path.name:
            (tmp_path / earlier.name).write_bytes(earlier.read_bytes())
    if any(tmp_path.iterdir()):
        asyncio.run(migrate(postgres_dsn, tmp_path))
    alone = not path.read_text().startswith(NO_TRANSACTION)
    done = psql(postgres_dsn, *(["-1"] if alone else []), "-f", str(path))
    assert done.returncode == 0, done.stderr


async def test_processes_that_start_at_once_apply_each_file_once(
    postgres_dsn: str, tmp_path: Path
) -> None:
    write(tmp_path, _0001_first=FIRST, _0002_index=CONCURRENTLY, _0003_more="SELECT 1;")
    command = (python_for(os.geteuid()), "-c", RACER, postgres_dsn, str(tmp_path))
    racers = [run_as(os.geteuid(), *command) for _ in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    results = [json.loads(racer.communicate(timeout=60)[0]) for racer in racers]
    names = ["0001_first.sql", "0002_index.sql", "0003_more.sql"]
    assert sorted(results) == [[], [], [], names]
    assert sql(postgres_dsn, "SELECT count(*) FROM first") == "1"
    assert sql(postgres_dsn, "SELECT count(*) FROM pg_index WHERE NOT indisvalid") == "0"


async def test_a_file_changed_after_it_was_applied_is_named(
    postgres_dsn: str, tmp_path: Path
) -> None:
    write(tmp_path, _0001_first=FIRST)
    await migrate(postgres_dsn, tmp_path)
    (tmp_path / "0001_first.sql").write_text(FIRST.replace("\n", "\r\n"), newline="")
    assert await migrate(postgres_dsn, tmp_path) == [], "line ends are git's affair"
    write(tmp_path, _0001_first=FIRST + "-- an afterthought\n", _0002_second="SELECT 1;")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was changed"):
        await migrate(postgres_dsn, tmp_path)
    entries = await status(postgres_dsn, tmp_path)
    assert [entry.state for entry in entries] == [MigrationState.CHANGED, MigrationState.PENDING]


async def test_a_database_of_a_newer_version_is_refused(postgres_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_first=FIRST, _0007_newer="SELECT 1;")
    await migrate(postgres_dsn, tmp_path)
    (tmp_path / "0007_newer.sql").unlink()
    with pytest.raises(MigrationError, match=r"newer AILB \(it has 0007_newer\.sql\)"):
        await migrate(postgres_dsn, tmp_path)
    assert [entry.state for entry in await status(postgres_dsn, tmp_path)] == ["applied", "unknown"]


async def test_a_file_that_comes_too_late_is_refused(postgres_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0002_second=FIRST)
    await migrate(postgres_dsn, tmp_path)
    write(tmp_path, _0001_late="SELECT 1;")
    with pytest.raises(MigrationError, match=r"0001_late\.sql .* higher number"):
        await migrate(postgres_dsn, tmp_path)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("SELECT 1;\n\nSELEC 2;\n", r'0002_broken\.sql, line 3: syntax error at or near "SELEC"'),
        ("SELECT 'ä';\nSELECT nothing;", r'line 2: column "nothing" does not exist; nothing of it'),
        ("CREATE TABLE t (x int);\nCOMMIT;\n", "must not contain COMMIT"),
    ],
)
async def test_a_broken_file_names_the_line_and_what_was_before_it_stays(
    postgres_dsn: str, tmp_path: Path, broken: str, message: str
) -> None:
    write(tmp_path, _0001_first=FIRST, _0002_broken=broken)
    with pytest.raises(MigrationError, match=message):
        await migrate(postgres_dsn, tmp_path)
    write(tmp_path, _0002_broken="CREATE TABLE IF NOT EXISTS t (x int);")
    assert await migrate(postgres_dsn, tmp_path) == ["0002_broken.sql"]


async def test_a_failed_file_leaves_nothing_and_one_without_transaction_goes_on(
    postgres_dsn: str, tmp_path: Path
) -> None:
    write(tmp_path, _0001_first=FIRST + "SELECT 1/0;")
    with pytest.raises(MigrationError, match="division by zero; nothing of it was applied"):
        await migrate(postgres_dsn, tmp_path)
    assert sql(postgres_dsn, "SELECT to_regclass('first')") == ""
    half = CONCURRENTLY.replace("ON first (id DESC)", "ONTO first")
    write(tmp_path, _0001_first=FIRST, _0002_index=half)
    with pytest.raises(MigrationError, match=r"0002_index\.sql, line 4: .*before stays"):
        await migrate(postgres_dsn, tmp_path)
    assert sql(postgres_dsn, "SELECT to_regclass('first_id')") == "first_id"
    write(tmp_path, _0002_index=CONCURRENTLY + "--;\n")
    assert await migrate(postgres_dsn, tmp_path) == ["0002_index.sql"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "no migrations"),
        (["0001_one", "0001_two"], "the same number"),
        (["1_one"], r"1_one\.sql is not named like"),
        (["0001-One"], "is not named like"),
    ],
)
async def test_a_directory_that_is_not_in_order_is_refused(
    tmp_path: Path, names: list[str], message: str
) -> None:
    for name in names:
        (tmp_path / f"{name}.sql").write_text("SELECT 1;")
    with pytest.raises(MigrationError, match=message):
        await migrate("postgresql://nobody.invalid/x", tmp_path)


async def test_the_wait_for_another_process_is_bounded(postgres_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_first=FIRST)
    other = await asyncpg.connect(postgres_dsn)
    await other.execute("SELECT pg_advisory_lock(x'41494C42'::int)")
    with pytest.raises(MigrationError, match="another process"):
        await migrate(postgres_dsn, tmp_path, lock_timeout_s=0.2)
    await other.close()
    assert await migrate(postgres_dsn, tmp_path) == ["0001_first.sql"]


async def test_the_wait_for_a_table_in_use_is_bounded(postgres_dsn: str, tmp_path: Path) -> None:
    write(tmp_path, _0001_first=FIRST)
    await migrate(postgres_dsn, tmp_path)
    write(tmp_path, _0002_alter="ALTER TABLE first ADD x int;")
    other = await asyncpg.connect(postgres_dsn)
    async with other.transaction():
        await other.execute("LOCK TABLE first")
        with pytest.raises(MigrationError, match=r"0002_alter\.sql: .*lock timeout"):
            await migrate(postgres_dsn, tmp_path, lock_timeout_s=0.2)
    await other.close()


async def test_without_pgvector_it_says_who_can_help(postgres_server: str) -> None:
    sql(
        postgres_server,
        "CREATE DATABASE bare OWNER ailb TEMPLATE template0",
        role="postgres",
    )
    message = (
        r'0001_vector\.sql: permission denied to create extension "vector" \(Must be superuser'
    )
    with pytest.raises(MigrationError, match=message):
        await migrate(database_dsn(postgres_server, "bare"), SHIPPED)


@pytest.mark.parametrize(
    ("dsn", "message"),
    [
        ("postgresql://u:secret@127.0.0.1:1/ailb", "127.0.0.1:1/ailb cannot be used"),
        ("postgresql://u:secret/word@localhost/ailb", "percent-encoded"),
    ],
)
async def test_without_a_server_it_says_where_none_is(dsn: str, message: str) -> None:
    for operation in (migrate, status):
        with pytest.raises(StoreUnavailableError, match=message) as raised:
            await operation(dsn, SHIPPED)
        assert "secret" not in str(raised.value)
