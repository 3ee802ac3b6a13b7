"""What docs/psql.md shows of the audit log, run by psql as it stands."""

import asyncio
import time

import pytest

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.storage.pool import Store
from tests.integration.audit.conftest import Archive
from tests.support.psql_document import inspections, shows

BLOCKS = inspections("Audit")
SHOWN = {
    "What happened": "|key.updated|key 7|ok|root|192.0.2.1|1",
    "Who changed": "|root|key.updated|key 7|requests_per_minute|null|60",
    "What did": "|key.updated|key 7|ok|",
    "Who tries": "192.0.2.9|unknown|4321|",
    "Which months": f"audit_log_{time.strftime('%Y%m', time.gmtime())}|",
}


@pytest.fixture
def seeded(migrated_dsn: str) -> str:
    async def seed() -> None:
        store = Store(migrated_dsn, size=1)
        await store.open()
        log = Archive(store).log
        root, nobody = Actor("root", 1, "192.0.2.1", "req-42"), Actor("nobody", None, "192.0.2.9")
        was, became = {"name": "a", "requests_per_minute": None}, {"requests_per_minute": 60}
        changed = AuditEvent("key.updated", root, 1, "key 7", was, {**was, **became})
        await log.append(changed)
        problem = {"problem": "unknown"}
        await log.append(AuditEvent("auth.failed", nobody, after=problem, times=4321))
        await store.close()

    asyncio.run(seed())
    return migrated_dsn


def test_all_are_shown() -> None:
    assert len(BLOCKS) == len(SHOWN)


@pytest.mark.parametrize(("question", "statement"), BLOCKS, ids=[b[0][:20] for b in BLOCKS])
def test_an_inspection_shows_what_it_says(seeded: str, question: str, statement: str) -> None:
    shows(seeded, question, statement, SHOWN)
