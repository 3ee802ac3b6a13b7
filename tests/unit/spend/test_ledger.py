"""The ledger over a real journal and a store that fails as it is told."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.usage import RowRefusedError
from ailb_server.spend.ledger import LedgerRules, UsageLedger
from ailb_server.storage.usage_journal import UsageJournal
from tests.support.usage import entry

QUICK = LedgerRules(flush_every_s=0, first_pause_s=0.01, longest_pause_s=0.02, adopt_every_s=0.02)


@dataclass
class Store:
    """Rows by their ids, as Postgres has them."""

    rows: dict[str, str] = field(default_factory=dict)
    calls: int = 0
    outage: Exception | None = None

    async def add(self, lines: Sequence[bytes]) -> int:
        self.calls += 1
        if self.outage is not None:
            raise self.outage
        rows = [orjson.loads(line) for line in lines]
        if any(row["model_asked"] == "bad" for row in rows):
            raise RowRefusedError("DataError")
        before = len(self.rows)
        self.rows |= {row["id"]: row["request_id"] for row in rows}
        return len(self.rows) - before


@dataclass
class Watching:
    """What is told."""

    rows: int = 0
    losses: dict[str, int] = field(default_factory=dict)

    def stored(self, rows: int) -> None:
        self.rows += rows

    def lost(self, why: str, rows: int) -> None:
        self.losses[why] = self.losses.get(why, 0) + rows


@dataclass
class Rig:
    """A ledger, and all around it."""

    directory: Path
    max_bytes: int = 1_000_000
    store: Store = field(default_factory=Store)
    watching: Watching = field(default_factory=Watching)

    def __post_init__(self) -> None:
        self.journal = UsageJournal(self.directory, "ailb-1", self.max_bytes)
        self.ledger = UsageLedger(self.journal, self.store, self.watching, QUICK)

    @property
    def contents(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()}

    @property
    def files(self) -> list[str]:
        return sorted(path.name for path in self.directory.iterdir())


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    yield rig
    await rig.ledger.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - of everything at once there is no event
            await asyncio.sleep(0.002)


async def test_rows_reach_the_store_and_leave_the_journal(rig: Rig) -> None:
    rig.ledger.start()
    for _ in range(3):
        rig.ledger.record(entry())
    await until(lambda: len(rig.store.rows) == 3)
    await until(lambda: not rig.journal.waiting_bytes)
    assert rig.watching.rows == 3
    await rig.ledger.close()
    assert rig.files == []


async def test_an_outage_is_waited_out_and_told_once(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    rig.store.outage = StorageUnavailableError("x")
    rig.ledger.start()
    rig.ledger.record(entry())
    await until(lambda: rig.ledger.problem != "")
    rig.ledger.record(entry())
    rig.store.outage = None
    await until(lambda: len(rig.store.rows) == 2)
    await until(lambda: rig.ledger.problem == "")
    assert rig.watching.losses == {}
    assert caplog.messages == [
        "usage: the store does not answer; rows wait in the journal",
        "usage: rows are stored again",
    ]


async def test_a_fault_of_ours_loses_no_row(rig: Rig) -> None:
    rig.store.outage = ZeroDivisionError()
    rig.ledger.start()
    rig.ledger.record(entry())
    await until(lambda: "ZeroDivisionError" in rig.ledger.problem)
    rig.store.outage = None
    await until(lambda: len(rig.store.rows) == 1)


async def test_what_a_close_cannot_store_the_next_start_does(rig: Rig, tmp_path: Path) -> None:
    rig.store.outage = StorageUnavailableError("x")
    rig.ledger.record(entry(request_id="kept"))
    await rig.ledger.close()
    assert len(rig.files) == 1
    again = Rig(tmp_path)
    again.ledger.start()
    await until(lambda: list(again.store.rows.values()) == ["kept"])
    await again.ledger.close()
    assert again.files == []


async def test_what_is_stored_again_is_there_once(rig: Rig, tmp_path: Path) -> None:
    """The store has a batch, and we are killed before the journal forgets it."""
    rows = [entry() for _ in range(3)]
    for row in rows:
        rig.ledger.record(row)
    left = rig.contents
    rig.ledger.start()
    await until(lambda: len(rig.store.rows) == 3)
    await rig.ledger.close()
    for name, data in left.items():
        (tmp_path / name).write_bytes(data)
    again = Rig(tmp_path, store=rig.store)
    again.ledger.start()
    await until(lambda: again.files == [again.files[0]] and not again.journal.waiting_bytes)
    assert rig.store.rows == {row.id: row.request_id for row in rows}
    assert again.watching.rows == 0
    await again.ledger.close()


async def test_the_journal_of_one_that_dies_later_is_taken_over_too(
    rig: Rig, tmp_path: Path
) -> None:
    other = UsageJournal(tmp_path, "ailb-2", 1_000_000)
    other.append(b'{"id": "1", "request_id": "left", "model_asked": "m"}')
    rig.ledger.start()
    rig.ledger.record(entry(request_id="mine"))
    await until(lambda: list(rig.store.rows.values()) == ["mine"])
    other.close()
    await until(lambda: sorted(rig.store.rows.values()) == ["left", "mine"])


async def test_a_row_that_is_refused_keeps_no_other_out(
    rig: Rig, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for n in range(9):
        rig.ledger.record(entry(model_asked="bad" if n in {2, 7} else "m", request_id=f"{n}"))
    rig.ledger.start()
    await until(lambda: len(rig.store.rows) == 7)
    await until(lambda: rig.watching.losses == {"refused": 2})
    aside = (tmp_path / "refused.jsonl").read_bytes().splitlines()
    assert [orjson.loads(line)["request_id"] for line in aside] == ["2", "7"]
    assert "a row cannot be stored" in caplog.text


async def test_when_the_journal_is_full_newer_rows_are_lost_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path, max_bytes=2000, store=Store(outage=StorageUnavailableError("x")))
    rig.ledger.start()
    for n in range(20):
        rig.ledger.record(entry(request_id=f"{n}"))
    kept = 20 - rig.watching.losses["full"]
    assert 2 <= kept <= 10
    rig.store.outage = None
    await until(lambda: list(rig.store.rows.values()) == [f"{n}" for n in range(kept)])
    await until(lambda: "rows are missing from the ledger" in caplog.text)
    rig.ledger.record(entry(request_id="new"))
    await until(lambda: "new" in rig.store.rows.values())
    assert f"{20 - kept} rows are missing" in caplog.text
    await rig.ledger.close()


async def test_no_value_of_a_row_makes_it_unwritable(rig: Rig) -> None:
    rig.ledger.record(entry(model_asked="half \ud800", prompt_tokens=2**80))
    batch = rig.journal.read()
    assert batch is not None
    (line,) = batch.lines
    assert orjson.loads(line)["model_asked"] == "half ?"
    assert orjson.loads(line)["prompt_tokens"] == 2**53
