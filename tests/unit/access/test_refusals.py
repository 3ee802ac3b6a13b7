"""Refused calls, counted together."""

from collections import Counter

import pytest

from ailb_server.access.audit_queue import AuditQueue, AuditRules
from ailb_server.access.refusals import Refusal, Refusals
from ailb_server.domain.errors import StorageUnavailableError
from tests.unit.access.audit import FakeRows


def noted(log: FakeRows) -> tuple[Refusals, AuditQueue, Counter[str]]:
    counted: Counter[str] = Counter()
    queue = AuditQueue(log, log)
    return Refusals(queue, lambda problem: counted.update([problem])), queue, counted


async def test_equal_ones_are_one_row_with_the_last_request() -> None:
    log = FakeRows()
    refusals, queue, counted = noted(log)
    for number in range(1000):
        refusals.note(Refusal("unknown", "/m", "ailb_abcdef", "192.0.2.7", f"r-{number}"))
    await queue.flush()
    (row,) = log.rows
    assert (row.action, row.times, row.subject) == ("auth.failed", 1000, "ailb_abcdef")
    assert row.outcome == "refused"
    assert (row.actor.peer, row.actor.request_id) == ("192.0.2.7", "r-999")
    assert row.after == {"problem": "unknown", "method": "/m"}
    assert counted == {"unknown": 1000}
    await queue.flush()
    assert len(log.rows) == 1


async def test_a_flood_from_everywhere_is_a_few_rows() -> None:
    log = FakeRows()
    refusals, queue, _ = noted(log)
    for number in range(10_000):
        refusals.note(Refusal("missing", "/m", peer=f"10.0.{number // 256}.{number % 256}"))
    await queue.flush()
    assert len(log.rows) == AuditRules().max_groups + 1
    assert sum(row.times for row in log.rows) == 10_000


async def test_none_is_lost_to_an_outage() -> None:
    log = FakeRows(away=True)
    refusals, queue, _ = noted(log)
    refusals.note(Refusal("missing", "/m", peer="a"))
    refusals.note(Refusal("unknown", "/m", peer="b"))
    with pytest.raises(StorageUnavailableError):
        await queue.flush()
    refusals.note(Refusal("missing", "/m", peer="a"))
    log.away = False
    queue.start()
    await queue.close()
    # What was on its way in the outage stays as it was sent: it may be there.
    assert [(row.actor.peer, row.times) for row in log.rows] == [("a", 1), ("b", 1), ("a", 1)]


async def test_a_role_is_told_of_its_key() -> None:
    log = FakeRows()
    refusals, queue, _ = noted(log)
    refusals.note(Refusal("role", "/m", tenant_id=7, key_id=3, actor="ci"))
    await queue.flush()
    (row,) = log.rows
    assert (row.tenant_id, row.subject, row.actor.name, row.actor.key_id) == (7, "key 3", "ci", 3)
