"""What docs/psql.md shows of memory, run by psql as it stands."""

import asyncio

import pytest

from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance
from tests.support.conversations import exchange, user
from tests.support.postgres import psql
from tests.support.psql_document import inspections, shows

BLOCKS = inspections("Memory")
SHOWN = {
    "Which sessions": "default|alice-1||4|",
    "What was said": "1|assistant|Nice to meet you.|openai|gpt-x|7|stop",
    "Who said": "alice-1|2|user|I like cheese.",
    "Which models": "default|openai|gpt-x|3|21",
    "Is every turn": "default|hashing|64|f|6|0",
}


@pytest.fixture
def seeded(migrated_dsn: str) -> str:
    async def seed() -> None:
        store = Store(migrated_dsn, size=2)
        await store.open()
        memory = Instance(store)
        await memory.remember(
            exchange(user("My name is Alice."), session="alice-1", said="Nice to meet you."),
            exchange(user("Pizza with cheese?"), session="bob", said="Gladly."),
            exchange(user("I like cheese."), session="alice-1", said="Noted."),
        )
        await memory.embedding.catch_up()
        await store.close()

    asyncio.run(seed())
    return migrated_dsn


def test_there_are_five() -> None:
    assert len(BLOCKS) == len(SHOWN) == 5


@pytest.mark.parametrize(("question", "statement"), BLOCKS, ids=[b[0][:20] for b in BLOCKS])
def test_an_inspection_shows_what_it_says(seeded: str, question: str, statement: str) -> None:
    shows(seeded, question, statement, SHOWN)


def test_everything_explains_itself(seeded: str) -> None:
    """Tables, views and columns are looked at by the migrations' tests; these are the others."""
    silent = """
        SELECT c.relname FROM pg_class c
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'i'
           AND c.relname ~ '^(sessions|turns)' AND obj_description(c.oid, 'pg_class') IS NULL
        UNION ALL
        SELECT p.proname FROM pg_proc p
         WHERE p.proname ~ '^memory' AND obj_description(p.oid, 'pg_proc') IS NULL"""
    done = psql(seeded, "-At", "-c", silent)
    assert (done.returncode, done.stdout.strip()) == (0, "")


def test_a_search_in_psql_is_bounded_by_tenant_session_and_number(seeded: str) -> None:
    def found(call: str) -> list[str]:
        statement = f"SELECT session_id, turn FROM memory_search({call})"  # noqa: S608
        done = psql(seeded, "-At", "-c", statement)
        assert done.returncode == 0, done.stderr
        return sorted(done.stdout.split())

    assert found("'default', 'cheese'") == ["alice-1|2", "bob|0"]
    assert found("'default', 'cheese', 'bob'") == ["bob|0"]
    assert found("'default', '\"nice to meet\" or pizza', NULL, 1") in (["alice-1|1"], ["bob|0"])
    assert found("'nobody', 'cheese'") == []
    assert found("'default', ''") == []
