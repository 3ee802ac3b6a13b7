"""What docs/psql.md shows of usage, run by psql as it stands; the indexes serve what they say."""

import asyncio
from datetime import UTC, datetime

import pytest

from ailb_server.storage.pool import Store
from tests.integration.usage.conftest import Books
from tests.support.postgres import psql, sql
from tests.support.psql_document import inspections, shows
from tests.support.usage import entry

BLOCKS = inspections("Usage")
SHOWN = {
    "What was spent": "default||3|45|0.000180",
    "How did the last": "|3|1|30|15|0.000180|████████████████████",
    "Which models": "openai|gpt-x|3|1|0.000180|0|12.5",
    "What became": "|default||openai|gpt-x|ok|stop|0.000060|12.5",
    "What went": "upstream_timeout|openai|gpt-x|1|",
    "How slow": "openai|gpt-x|1|{7,7}",
    "Which conversations": "alice-1|1|0.000060|40",
}


@pytest.fixture
def seeded(migrated_dsn: str) -> str:
    async def seed() -> None:
        store = Store(migrated_dsn, size=1)
        await store.open()
        now = datetime.now(UTC)
        await Books(store).add(
            entry(now, request_id="req-42", finish_reason="stop"),
            entry(now, streamed=True, first_token_ms=7.0, session_id="alice-1"),
            entry(now, outcome="upstream_timeout"),
        )
        await store.close()

    asyncio.run(seed())
    return migrated_dsn


def test_all_are_shown() -> None:
    assert len(BLOCKS) == len(SHOWN)


@pytest.mark.parametrize(("question", "statement"), BLOCKS, ids=[b[0][:20] for b in BLOCKS])
def test_an_inspection_shows_what_it_says(seeded: str, question: str, statement: str) -> None:
    shows(seeded, question, statement, SHOWN)


def test_the_views_add_up(seeded: str) -> None:
    for view in ("usage_by_day", "usage_by_key", "usage_by_model"):
        told = sql(seeded, f"SELECT sum(requests), sum(cost_usd) FROM {view}")  # noqa: S608
        assert told == "3|0.000180"


def test_everything_explains_itself(seeded: str) -> None:
    """Tables, views and columns are looked at by the migrations' tests; these are the others."""
    silent = """
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('i', 'I')
           AND c.relname ~ '^usage_ledger_(pkey|tenant|key|request|2)'
           AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT p.proname FROM pg_proc p
         WHERE p.proname ~ '^usage' AND obj_description(p.oid, 'pg_proc') IS NULL"""
    assert sql(seeded, silent) == ""


@pytest.mark.parametrize(
    ("condition", "index"),
    [
        ("tenant_id = 1 AND at >= now() - interval '1 day'", "tenant_id_at_idx"),
        ("key_id = 7 AND at >= now() - interval '1 day'", "key_id_at_idx"),
        ("at >= now() - interval '1 day' AND at < now()", "pkey"),
        ("request_id = 'r-1'", "request_id_idx"),
    ],
)
def test_each_question_has_its_index(seeded: str, condition: str, index: str) -> None:
    told = psql(
        seeded,
        *("-At", "-c", "SET enable_seqscan = off"),
        *("-c", f"EXPLAIN SELECT sum(cost_micro_dollars) FROM usage_ledger WHERE {condition}"),  # noqa: S608
    )
    assert told.returncode == 0, told.stderr
    assert index in told.stdout
