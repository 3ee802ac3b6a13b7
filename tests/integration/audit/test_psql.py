"""What docs/psql.md shows of the audit log, run by psql as it stands."""

import asyncio
import re
import time

import pytest

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.storage.pool import Store
from tests.integration.audit.conftest import Archive
from tests.support.postgres import REPOSITORY, psql

DOCUMENT = (REPOSITORY / "docs" / "psql.md").read_text(encoding="utf-8")
SECTION = DOCUMENT.partition("\n## Audit\n")[2].partition("\n## ")[0]
BLOCKS = re.findall(r"^(\S[^\n]*)\n\n```sql\n(.*?)```", SECTION, re.MULTILINE | re.DOTALL)
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
    done = psql(seeded, "-At", "-c", statement)
    assert done.returncode == 0, done.stderr
    (wanted,) = [line for begin, line in SHOWN.items() if question.startswith(begin)]
    assert wanted in done.stdout
