"""Refused calls, counted together."""

from collections import Counter
from dataclasses import dataclass, field

from ailb_server.access.refusals import MAX_GROUPS, Refusal, Refusals
from ailb_server.domain.api_key import AuditEvent
from ailb_server.domain.errors import StorageUnavailableError


@dataclass
class FakeLog:
    """Keeps what it is given, unless it is away."""

    rows: list[AuditEvent] = field(default_factory=list)
    away: bool = False

    async def append(self, event: AuditEvent) -> None:
        if self.away:
            raise StorageUnavailableError("away")
        self.rows.append(event)


def noted(log: FakeLog) -> tuple[Refusals, Counter[str]]:
    counted: Counter[str] = Counter()
    return Refusals(log, lambda problem: counted.update([problem])), counted


async def test_equal_ones_are_one_row_with_the_last_request() -> None:
    log = FakeLog()
    refusals, counted = noted(log)
    for number in range(1000):
        refusals.note(Refusal("unknown", "/m", "ailb_abcdef", "192.0.2.7", f"r-{number}"))
    await refusals.flush()
    (row,) = log.rows
    assert (row.action, row.times, row.subject) == ("auth.failed", 1000, "ailb_abcdef")
    assert (row.actor.peer, row.actor.request_id) == ("192.0.2.7", "r-999")
    assert row.after == {"problem": "unknown", "method": "/m"}
    assert counted == {"unknown": 1000}
    await refusals.flush()
    assert len(log.rows) == 1


async def test_a_flood_from_everywhere_is_a_few_rows() -> None:
    log = FakeLog()
    refusals, _ = noted(log)
    for number in range(10_000):
        refusals.note(Refusal("missing", "/m", peer=f"10.0.{number // 256}.{number % 256}"))
    await refusals.flush()
    assert len(log.rows) == MAX_GROUPS + 1
    assert sum(row.times for row in log.rows) == 10_000


async def test_none_is_lost_to_an_outage() -> None:
    log = FakeLog(away=True)
    refusals, _ = noted(log)
    refusals.note(Refusal("missing", "/m", peer="a"))
    refusals.note(Refusal("unknown", "/m", peer="b"))
    await refusals.flush()
    refusals.note(Refusal("missing", "/m", peer="a"))
    log.away = False
    refusals.start()
    await refusals.close()
    assert {(row.actor.peer, row.times) for row in log.rows} == {("a", 2), ("b", 1)}


async def test_a_role_is_told_of_its_key() -> None:
    log = FakeLog()
    refusals, _ = noted(log)
    refusals.note(Refusal("role", "/m", tenant_id=7, key_id=3, actor="ci"))
    await refusals.flush()
    (row,) = log.rows
    assert (row.tenant_id, row.subject, row.actor.name, row.actor.key_id) == (7, "key 3", "ci", 3)
