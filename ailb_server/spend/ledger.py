"""The usage ledger: a row is in the journal before its request ends, and in the store soon after.

A row has an id of the ledger's own, and the store takes each id once, so that whatever is not known
to be stored is simply stored again: after an outage, a kill of either side, or both.
"""

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.usage import Batch, Loss, RowRefusedError, UsageEntry
from ailb_server.spend.ledger_line import line_of

# So many rows in one statement are worth another one at once.
_MANY = 100

_log = logging.getLogger(__name__)


class Journal(Protocol):
    """Rows on this machine's disk, until they are stored."""

    def append(self, line: bytes) -> Loss | None:
        """Keeps a row, over a kill of this process too; or why it did not."""
        ...

    def read(self) -> Batch | None:
        """The oldest rows, which stay until they are `done`; None if nothing waits."""
        ...

    def done(self, batch: Batch) -> None:
        """They are stored."""
        ...

    def put_aside(self, line: bytes) -> None:
        """Keeps a row that cannot be stored where an operator finds it."""
        ...

    def adopt(self) -> int:
        """Takes over what instances that are gone left behind: how many files."""
        ...

    async def sync(self) -> None:
        """Makes what waits outlast a crash of the machine."""
        ...

    def close(self) -> int:
        """Lets go of the files; the number of bytes that wait in them for another start."""
        ...


class UsageStore(Protocol):
    """Where rows stay."""

    async def add(self, lines: Sequence[bytes]) -> int:
        """Adds those that are not there yet, all or none of them; how many that were.

        Raises StorageUnavailableError, or RowRefusedError if one of them cannot be stored.
        """
        ...


class LedgerObserver(Protocol):
    """Who is told how the ledger does."""

    def stored(self, rows: int) -> None:
        """Rows reached the store."""
        ...

    def lost(self, why: Loss, rows: int) -> None:
        """Rows that the store will not have."""
        ...


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """Seconds: between flushes, after a failed one (doubling up to `longest_pause_s`), between
    looks for others' journals, and for the last flush."""

    flush_every_s: float = 1.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    adopt_every_s: float = 30.0
    close_s: float = 5.0


class UsageLedger:
    """One an instance."""

    def __init__(
        self,
        journal: Journal,
        store: UsageStore,
        observer: LedgerObserver,
        rules: LedgerRules | None = None,
    ) -> None:
        self._journal = journal
        self._store = store
        self._observer = observer
        self._rules = rules or LedgerRules()
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._lost = 0
        self._problem = ""
        self._next_adoption = 0.0

    @property
    def problem(self) -> str:
        """Why rows wait longer than they should; empty if they do not."""
        return self._problem

    def record(self, entry: UsageEntry) -> None:
        """Keeps a row: one write to the journal."""
        loss = self._journal.append(line_of(entry))
        if loss is not None:
            self._lose(loss, 1)
        self._some.set()

    def start(self) -> None:
        """Begins to store what waits, this instance's and what others left behind."""
        self._some.set()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stores what waits, for at most `close_s`; what is left stays in the journal."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        try:
            async with asyncio.timeout(self._rules.close_s):
                await self._flush(last=True)
        except (StorageUnavailableError, TimeoutError):
            _log.warning("usage: not all rows could be stored before the end")
        except Exception as error:  # noqa: BLE001 - what is not stored now is so at the next start
            _log.error("usage: rows could not be stored: %s", type(error).__qualname__)
        if left := self._journal.close():
            _log.warning("usage: %d bytes of rows wait in the journal for the next start", left)

    async def _run(self) -> None:
        pause_s = self._rules.first_pause_s
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._rules.adopt_every_s):
                    await self._some.wait()
            self._some.clear()
            if await self._try():
                pause_s = self._rules.first_pause_s
                await asyncio.sleep(self._rules.flush_every_s)
            else:
                self._some.set()
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, self._rules.longest_pause_s)

    async def _try(self) -> bool:
        try:
            self._adopt()
            await self._flush()
        except StorageUnavailableError:
            await self._failed("the store does not answer; rows wait in the journal")
        except Exception as error:  # noqa: BLE001 - this task must not end for good
            await self._failed(f"rows cannot be stored: {type(error).__qualname__}")
        else:
            self._mended()
            return True
        return False

    def _adopt(self) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._next_adoption:
            self._next_adoption = now + self._rules.adopt_every_s
            if adopted := self._journal.adopt():
                _log.info("usage: took over %d journal files of instances that are gone", adopted)

    async def _flush(self, *, last: bool = False) -> None:
        """Stores what waits; what comes meanwhile waits for the next flush, unless this is the
        last. Else rows would go in ones and twos, which cost as much each as a hundred."""
        while (batch := self._journal.read()) is not None:
            if batch.unreadable:
                self._lose("unreadable", batch.unreadable)
            await self._put(batch.lines)
            self._journal.done(batch)
            if not last and len(batch.lines) < _MANY:
                self._some.set()
                return

    async def _put(self, lines: Sequence[bytes]) -> None:
        if not lines:
            return
        try:
            self._observer.stored(await self._store.add(lines))
        except RowRefusedError as error:
            if len(lines) > 1:
                # One bad row must not keep the others out.
                half = len(lines) // 2
                await self._put(lines[:half])
                await self._put(lines[half:])
                return
            _log.error("usage: a row cannot be stored and is put aside: %s", error)
            self._journal.put_aside(lines[0])
            self._lose("refused", 1)

    async def _failed(self, problem: str) -> None:
        if not self._problem:
            _log.warning("usage: %s", problem)
        self._problem = problem
        await self._journal.sync()

    def _mended(self) -> None:
        if self._problem:
            _log.info("usage: rows are stored again")
        if self._lost:
            _log.error("usage: %d rows are missing from the ledger", self._lost)
        self._problem, self._lost = "", 0

    def _lose(self, why: Loss, rows: int) -> None:
        if not self._lost:
            _log.error("usage: rows are lost to the ledger: %s", _REASONS[why])
        self._lost += rows
        self._observer.lost(why, rows)


_REASONS: dict[Loss, str] = {
    "full": "the journal is full; raise USAGE_JOURNAL_MAX_MB, or mend the store",
    "disk": "the journal cannot be written; look at the disk of USAGE_JOURNAL_DIR",
    "refused": "the store refuses them; they are kept in `refused.jsonl` beside the journal",
    "unreadable": "the journal was torn, as by a crash of the machine",
}
