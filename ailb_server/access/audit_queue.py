"""Events on their way to the audit log, off the path of whoever tells them.

Bounded: an outage of the store, or a flood, costs no memory, and what is dropped is told.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.errors import StorageUnavailableError

_log = logging.getLogger(__name__)

# Of the store's column.
_MOST = 2**31 - 1
_OTHERS = "others"
# The store's times are of microseconds, floats of now of a quarter of one.
_APART_S = 2e-6

_Group: TypeAlias = tuple[object, ...]


class AuditRows(Protocol):
    """Where events are kept."""

    async def append(self, event: AuditEvent) -> None:
        """Adds a row; an event with a time that it has already adds none. Raises
        StorageUnavailableError, after which it may be there."""
        ...


class AuditObserver(Protocol):
    """Who is told how the queue does; must not block and must not raise."""

    def lost(self, events: int) -> None:
        """The audit log will not have them."""
        ...


@dataclass(frozen=True, slots=True)
class AuditRules:
    """`max_waiting`: changes that may wait. `max_groups`: rows of what repeats that one action may
    make every `count_every_s`; what is beyond is one row more. The rest as of `spend.ledger`."""

    max_waiting: int = 1000
    max_groups: int = 32
    count_every_s: float = 15.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 10.0
    close_s: float = 5.0


@dataclass(slots=True)
class AuditQueue:
    """See `domain.audit.AuditLog`. `wall` tells seconds since 1970."""

    rows: AuditRows
    observer: AuditObserver
    rules: AuditRules = field(default_factory=AuditRules)
    wall: Callable[[], float] = time.time
    _changes: deque[AuditEvent] = field(init=False, default_factory=deque)
    _groups: dict[_Group, AuditEvent] = field(init=False, default_factory=dict)
    _groups_of: Counter[str] = field(init=False, default_factory=Counter)
    # Taken from the groups, and kept as they are until the store is known to have them.
    _counted: deque[AuditEvent] = field(init=False, default_factory=deque)
    _last_stamp: float = field(init=False, default=0.0)
    _lost: int = field(init=False, default=0)
    _some: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _ends: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)

    @property
    def waiting(self) -> int:
        """Rows to be written."""
        return len(self._changes) + len(self._counted) + len(self._groups)

    def record(self, event: AuditEvent) -> None:
        """See `AuditLog`."""
        if len(self._changes) >= self.rules.max_waiting:
            self._lose(event, "more of them wait for the store than may")
            return
        self._changes.append(self._stamped(event))
        self._some.set()

    def count(self, event: AuditEvent, kind: str = "") -> None:
        """See `AuditLog`."""
        who = event.actor
        group: _Group = (
            *(event.action, event.outcome, event.tenant_id, event.subject, kind),
            *(who.name, who.key_id, who.peer),
        )
        if group not in self._groups and self._groups_of[event.action] >= self.rules.max_groups:
            group = (event.action, _OTHERS)
            event = AuditEvent(
                event.action,
                Actor(_OTHERS, request_id=who.request_id),
                subject=_OTHERS,
                times=event.times,
                outcome=event.outcome,
            )
        self._add(group, self._stamped(event))

    async def append(self, event: AuditEvent) -> None:
        """See `AuditLog`."""
        await self.rows.append(event)

    def start(self) -> None:
        """Begins to write, until `close`."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Writes what is left, if the store takes it within `close_s`."""
        self._ends.set()
        self._some.set()
        with contextlib.suppress(TimeoutError, StorageUnavailableError):
            async with asyncio.timeout(self.rules.close_s):
                # A row that is being written is not written again: nobody could tell whether it is
                # there.
                if self._task is not None:
                    await self._task
                await self.flush()
        if self.waiting:
            _log.error("audit: %d rows could not be written before the end", self.waiting)

    async def flush(self) -> None:
        """Writes all of it. Raises StorageUnavailableError, and keeps what is not written."""
        await self._flush_changes()
        await self._flush_counts()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        next_counts = loop.time() + self.rules.count_every_s
        pause_s = self.rules.first_pause_s
        while not self._ends.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(next_counts):
                    await self._some.wait()
            self._some.clear()
            try:
                await self._flush_changes()
                if loop.time() >= next_counts:
                    next_counts = loop.time() + self.rules.count_every_s
                    await self._flush_counts()
                pause_s = self.rules.first_pause_s
            except StorageUnavailableError:
                self._some.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._ends.wait()
                pause_s = min(2 * pause_s, self.rules.longest_pause_s)

    async def _flush_changes(self) -> None:
        await self._flush_all(self._changes)
        if self._lost:
            lost, self._lost = self._lost, 0
            gap = AuditEvent("audit.lost", Actor("ailb"), outcome="failed", times=min(lost, _MOST))
            try:
                await self._write(gap)
            except StorageUnavailableError:
                self._lost += lost
                raise

    async def _flush_counts(self) -> None:
        while self._counted or self._groups:
            if not self._counted:
                self._counted.extend(self._groups.values())
                self._groups.clear()
                self._groups_of.clear()
            await self._flush_all(self._counted)

    async def _flush_all(self, events: deque[AuditEvent]) -> None:
        while events:
            await self._write(events[0])
            events.popleft()

    async def _write(self, event: AuditEvent) -> None:
        try:
            await self.rows.append(event)
        except StorageUnavailableError:
            raise
        except Exception as error:  # noqa: BLE001
            # One row that the store will not have must not keep the others out, nor pass unseen;
            # the error's message may quote it.
            _log.error("audit: a row cannot be written: %s", type(error).__qualname__)
            self._lose(event, "the store refuses them")

    def _add(self, group: _Group, event: AuditEvent) -> None:
        known = self._groups.get(group)
        if known is None:
            self._groups[group] = event
            self._groups_of[event.action] += 1
            return
        last = event if (event.at or 0.0) >= (known.at or 0.0) else known
        self._groups[group] = replace(last, times=min(known.times + event.times, _MOST))

    def _stamped(self, event: AuditEvent) -> AuditEvent:
        """No two of them at once: that is how the store knows one that it is given again."""
        if event.at is not None:
            return event
        self._last_stamp = max(self.wall(), self._last_stamp + _APART_S)
        return replace(event, at=self._last_stamp)

    def _lose(self, event: AuditEvent, why: str) -> None:
        if not self._lost:
            _log.error("audit: events are lost to the audit log: %s", why)
        self._lost += event.times
        self.observer.lost(event.times)
