"""The schema as people meet it: explained, and inspected as docs/psql.md says."""

import re

import pytest

from ailb_server.domain.knowledge import NewChunk
from tests.integration.knowledge.conftest import MINE, OTHER, Shelf, new_document
from tests.support.postgres import REPOSITORY, sql

PSQL = (REPOSITORY / "docs" / "psql.md").read_text(encoding="utf-8")
SECTION = PSQL.partition("\n## Knowledge\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"```sql\n(.*?)```", SECTION, re.DOTALL)


@pytest.fixture
async def handbook(shelf: Shelf) -> None:
    for tenant in (MINE, OTHER):
        docs = await Shelf(shelf.rows, shelf.embedder, tenant).make("handbook")
        texts = ("Parental leave is paid.", "Leave of other kinds is unpaid.")
        await Shelf(shelf.rows, shelf.embedder, tenant).put(docs, "leave.md", *texts, lang="en")
        late = new_document("late.md", "No vector.")
        await shelf.rows.replace_document(docs, late, [NewChunk("No vector.")])


def test_there_are_inspections() -> None:
    assert len(BLOCKS) >= 5


@pytest.mark.parametrize("block", BLOCKS)
async def test_each_inspection_tells_something(
    handbook: None, migrated_dsn: str, block: str
) -> None:
    assert sql(migrated_dsn, block) != ""


async def test_the_function_keeps_to_its_tenant(handbook: None, migrated_dsn: str) -> None:
    found = "SELECT document, passage, excerpt FROM knowledge_search('{}', 'handbook', 'parental')"
    row = "leave.md|0|**Parental** leave is paid."
    assert sql(migrated_dsn, found.format("default")) == row
    assert sql(migrated_dsn, found.format("none")) == ""


OURS = """
(c.relname IN ('collections', 'documents', 'chunks', 'chunk_vectors')
 OR c.relname LIKE 'knowledge%')
"""
UNEXPLAINED = (
    "SELECT c.relname, a.attname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
    " WHERE OURS AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NULL",
    "SELECT relname FROM pg_class c WHERE OURS AND obj_description(oid) IS NULL",
    "SELECT indexrelid::regclass FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid"
    " WHERE OURS AND coalesce(obj_description(indexrelid), '') !~ '^Serves '",
)


@pytest.mark.parametrize("statement", UNEXPLAINED)
def test_everything_is_explained(migrated_dsn: str, statement: str) -> None:
    assert sql(migrated_dsn, statement.replace("OURS", OURS)) == ""
