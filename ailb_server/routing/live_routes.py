"""The model routes in force on this instance, kept the same as the store's."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.rollout import ALL, weight_of
from ailb_server.domain.route import RouteChange, RouteEdit, RouteTable, RouteTableUnsoundError
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.route_changes import require_sound

_log = logging.getLogger(__name__)


class RouteStore(Protocol):
    """Where routes are kept. Raises StorageUnavailableError and RouteTableUnsoundError."""

    async def load(self) -> RouteTable:
        """All of them."""
        ...

    async def change(self, change: RouteChange) -> RouteTable:
        """Puts what `change` makes of the table in its place, with its row in the audit log, or
        nothing at all; nobody else changes it meanwhile. Raises what `change` raises."""
        ...


@dataclass(frozen=True, slots=True)
class ReadRules:
    """Seconds. `every_s`: how often routes are read though nobody told of a change, for the clock's
    sake too; `pause_s`: after a failure."""

    every_s: float = 60.0
    pause_s: float = 0.5


@dataclass(slots=True)
class LiveRoutes:
    """Puts the routes before the catalogue's table. `version` is AILB's.

    A table that is not sound is refused: the one before stays, and `problem` tells why. Without
    the store, what was read last goes on. An `InstanceWeight`.
    """

    store: RouteStore
    catalogue: Catalogue
    version: str
    rules: ReadRules = field(default_factory=ReadRules)
    clock: Callable[[], float] = time.monotonic
    table: RouteTable = field(default_factory=RouteTable)
    problem: str = ""
    _ahead_s: float = 0.0
    _applied: int = 0
    _stale: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Reads them, and begins the task that reads them again. Raises StorageUnavailableError."""
        await self._read()
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends that task."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    def heard(self, _payload: str) -> None:
        """Somebody has changed routes, or may have while nobody listened here."""
        self._stale.set()

    def now(self) -> float:
        """The store's time, in seconds since 1970, by which promotions go."""
        return self.clock() + self._ahead_s

    def current(self) -> int:
        """See `InstanceWeight`."""
        rollout = self.table.instance
        return ALL if rollout is None else weight_of(rollout.at(self.now()), self.version)

    async def change(self, change: RouteChange) -> RouteTable:
        """Changes them for all instances; for this one when it returns. Raises as `RouteStore`."""

        def sound(table: RouteTable) -> RouteEdit:
            edit = change(table)
            require_sound(RouteTable(routes=edit.routes, instance=edit.instance))
            return edit

        changed = await self.store.change(sound)
        self._apply(changed)
        return changed

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.rules.every_s):
                    await self._stale.wait()
            self._stale.clear()
            try:
                await self._read()
            except StorageUnavailableError:
                self._stale.set()
                await asyncio.sleep(self.rules.pause_s)
            except Exception:  # noqa: BLE001
                # A fault of ours must not end the reading for good, nor pass unseen.
                _log.exception("model routes could not be read")
                await asyncio.sleep(self.rules.pause_s)

    async def _read(self) -> None:
        before = self._applied
        try:
            table = await self.store.load()
            if self._applied == before:
                self._apply(table)
            else:
                # What a change has put here meanwhile is newer than what was read.
                self._stale.set()
        except RouteTableUnsoundError as error:
            if str(error) != self.problem:
                _log.error(
                    "the stored model routes are refused, the last good ones stay: %s", error
                )
            self.problem = str(error)

    def _apply(self, table: RouteTable) -> None:
        require_sound(table)
        self._applied += 1
        self._ahead_s = table.now - self.clock()
        if table.routes != self.table.routes:
            self.catalogue.set_routes(table.routes)
            _log.info("model routes: %d, table %d", len(table.routes), table.version)
        self.table = table
        self.problem = ""
