"""Events on their way to the audit log."""

import asyncio

import pytest

from ailb_server.access.audit_queue import AuditQueue, AuditRules
from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.errors import StorageUnavailableError
from tests.unit.access.audit import FakeRows

_MODULE = Actor("module", peer="192.0.2.9")


async def _written(queue: AuditQueue) -> None:
    async with asyncio.timeout(5):
        while queue.waiting:  # noqa: ASYNC110 - it tells nobody of its changes
            await asyncio.sleep(0.001)


async def test_changes_are_one_row_each_in_their_order_at_the_time_that_they_were_told() -> None:
    log = FakeRows()
    times = iter([100.0, 101.0, 102.0])
    queue = AuditQueue(log, log, wall=lambda: next(times))
    queue.start()
    for weight in (10, 50, 100):
        queue.record(AuditEvent("weight.set", _MODULE, after={"weight": weight}))
    await _written(queue)
    assert [(row.at, row.times) for row in log.rows] == [(100.0, 1), (101.0, 1), (102.0, 1)]
    assert [row.after for row in log.rows] == [{"weight": 10}, {"weight": 50}, {"weight": 100}]
    await queue.close()


async def test_polls_are_counted_and_keep_refusals_from_nothing() -> None:
    log = FakeRows()
    queue = AuditQueue(log, log)
    for number in range(500):
        queue.count(AuditEvent("module.called", _MODULE, subject=f"Get{number}"))
    queue.count(AuditEvent("auth.failed", Actor("nobody"), outcome="refused"))
    await queue.flush()
    assert sum(row.times for row in log.rows if row.action == "module.called") == 500
    assert len(log.rows) == AuditRules().max_groups + 2
    assert log.rows[-1].action == "auth.failed"
    assert queue.waiting == 0


async def test_an_outage_delays_changes_and_loses_none() -> None:
    log = FakeRows(away=True)
    queue = AuditQueue(log, log, AuditRules(first_pause_s=0.001, longest_pause_s=0.002))
    queue.start()
    queue.record(AuditEvent("config.reloaded", _MODULE, at=7.0))
    await asyncio.sleep(0.01)
    assert not log.rows
    log.away = False
    await _written(queue)
    assert [(row.action, row.at) for row in log.rows] == [("config.reloaded", 7.0)]
    await queue.close()


async def test_what_does_not_fit_is_told_by_a_row() -> None:
    log = FakeRows(away=True)
    queue = AuditQueue(log, log, AuditRules(max_waiting=2))
    for _ in range(5):
        queue.record(AuditEvent("weight.set", _MODULE))
    assert log.gone == 3
    log.away = False
    await queue.close()
    assert [(row.action, row.times) for row in log.rows] == [
        ("weight.set", 1),
        ("weight.set", 1),
        ("audit.lost", 3),
    ]
    assert log.rows[-1].outcome == "failed"


async def test_a_row_that_the_store_refuses_keeps_no_other_out() -> None:
    log = FakeRows(refuses="route.updated")
    queue = AuditQueue(log, log)
    queue.record(AuditEvent("route.updated", _MODULE))
    queue.record(AuditEvent("route.deleted", _MODULE))
    await queue.close()
    assert [row.action for row in log.rows] == ["route.deleted", "audit.lost"]
    assert log.gone == 1


async def test_an_end_without_a_store_is_bounded() -> None:
    log = FakeRows(away=True)
    queue = AuditQueue(log, log)
    queue.record(AuditEvent("weight.set", _MODULE))
    queue.start()
    await queue.close()
    assert queue.waiting == 1


async def test_an_end_in_the_middle_of_a_write_writes_it_once() -> None:
    log = FakeRows(answers=asyncio.Event())
    queue = AuditQueue(log, log)
    queue.start()
    queue.record(AuditEvent("weight.set", _MODULE))
    await log.writing.wait()
    closing = asyncio.create_task(queue.close())
    await asyncio.sleep(0)
    assert log.answers is not None
    log.answers.set()
    await closing
    assert ([row.action for row in log.rows], queue.waiting) == (["weight.set"], 0)


async def test_a_row_whose_commit_was_not_told_is_sent_again_as_it_was() -> None:
    log = FakeRows(mute=True)
    queue = AuditQueue(log, log)
    queue.count(AuditEvent("auth.failed", _MODULE, outcome="refused"))
    queue.record(AuditEvent("weight.set", _MODULE))
    for flushed in (queue.flush, queue.flush):
        with pytest.raises(StorageUnavailableError):
            await flushed()
    log.mute = False
    await queue.flush()
    log.mute = True
    queue.count(AuditEvent("auth.failed", _MODULE, outcome="refused"))
    with pytest.raises(StorageUnavailableError):
        await queue.flush()
    # The same again: it must not swell a row that may be there.
    queue.count(AuditEvent("auth.failed", _MODULE, outcome="refused"))
    log.mute = False
    await queue.flush()
    assert [row.action for row in log.rows] == ["weight.set", *["auth.failed"] * 3]
    assert [row.times for row in log.rows] == [1, 1, 1, 1]


async def test_no_two_events_are_of_one_time() -> None:
    log = FakeRows()
    queue = AuditQueue(log, log, wall=lambda: 1_800_000_000.0)
    for _ in range(3):
        queue.record(AuditEvent("weight.set", _MODULE))
    await queue.flush()
    assert len({round((row.at or 0) * 1e6) for row in log.rows}) == 3


async def test_an_end_is_bounded_though_the_store_never_answers() -> None:
    log = FakeRows(answers=asyncio.Event())
    queue = AuditQueue(log, log, AuditRules(close_s=0.01))
    queue.start()
    queue.record(AuditEvent("weight.set", _MODULE))
    await log.writing.wait()
    await queue.close()
    assert queue.waiting == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}
