"""Works on the documents of imports, whichever instance was given them."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

from ailb_server.domain.errors import EmbedderUnavailableError, StorageUnavailableError
from ailb_server.domain.imports import Claim, ImportItem
from ailb_server.knowledge.extraction.process import ExtractionUnavailableError
from ailb_server.knowledge.import_group import GroupWork
from ailb_server.knowledge.import_queue import OldImports

_RELEASE_S = 2.0
_REMOVED_AT_ONCE = 100
# An hour's, at most.
_REMOVALS = 1000

_log = logging.getLogger(__name__)


class ImportWorker:
    """One instance's workers. `run` until it is cancelled; `wake` when there is work."""

    def __init__(self, work: GroupWork, old: OldImports) -> None:
        self._work = work
        self._rules = work.rules
        self._old = old
        self._woken = asyncio.Event()
        self._tenant = 0
        self._busy_at = time.monotonic()
        self._troubled = False

    def wake(self) -> None:
        """There is work now; else it is found within `idle_s`."""
        self._woken.set()

    async def run(self) -> None:
        """Works for ever; when cancelled, lets other instances go on at once."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._rules.lanes):
                    tasks.create_task(self._lane())
                tasks.create_task(self._keep_house())
        finally:
            await self._work.extraction.close()

    async def _lane(self) -> None:
        """Groups, one after the other; after trouble, a wait that grows."""
        wait_s = self._rules.first_wait_s
        while True:
            try:
                found = await self._next_group()
            except Exception as error:  # noqa: BLE001 - the next group may be another one
                self._tell(error)
                await asyncio.sleep(wait_s * random.uniform(0.5, 1))  # noqa: S311
                wait_s = min(2 * wait_s, self._rules.longest_wait_s)
                continue
            wait_s, self._troubled = self._rules.first_wait_s, False
            if not found:
                await self._idle()

    async def _next_group(self) -> bool:
        """Takes a group up and works on it; False if there is none."""
        worker = uuid4()
        items = await self._claim(worker)
        if not items:
            return False
        self._busy_at = time.monotonic()
        async with self._leased(worker, items):
            await self._work.run(worker, items)
        self._busy_at = time.monotonic()
        return True

    async def _claim(self, worker: UUID) -> Sequence[ImportItem]:
        """From the next tenant that has work, in turn."""
        rules, queue = self._rules, self._work.queue
        claim = Claim(worker, rules.group_documents, rules.group_bytes, rules.lease_s)
        first = self._tenant
        wrapped = False
        while True:
            tenant = await queue.next_tenant(self._tenant)
            if tenant is None or (wrapped and tenant > first):
                if wrapped or first == 0:
                    self._tenant = 0
                    return ()
                self._tenant, wrapped = 0, True
                continue
            self._tenant = tenant
            if items := await queue.claim(tenant, claim):
                return items

    @asynccontextmanager
    async def _leased(self, worker: UUID, items: Sequence[ImportItem]) -> AsyncIterator[None]:
        """Keeps the items meanwhile; gives back what is left of them after trouble."""
        keeping = asyncio.create_task(self._keep(worker, items))
        try:
            yield
        except (EmbedderUnavailableError, asyncio.CancelledError):
            await self._release(worker, items, tried=False)
            raise
        except StorageUnavailableError:
            # The leases run out by themselves.
            raise
        except Exception:
            await self._release(worker, items, tried=True)
            raise
        finally:
            keeping.cancel()
            # Unlike awaiting it, this tells its cancellation from ours.
            await asyncio.wait((keeping,))

    async def _keep(self, worker: UUID, items: Sequence[ImportItem]) -> None:
        ids = {item.id for item in items}
        lease_s = self._rules.lease_s
        while True:
            await asyncio.sleep(lease_s / 3)
            with contextlib.suppress(StorageUnavailableError):
                await self._work.queue.renew(items[0].tenant_id, worker, ids, lease_s)

    async def _release(self, worker: UUID, items: Sequence[ImportItem], *, tried: bool) -> None:
        ids = [item.id for item in items]
        delay_s = self._rules.first_wait_s if tried else 0.0
        with contextlib.suppress(StorageUnavailableError, TimeoutError):
            async with asyncio.timeout(_RELEASE_S):
                await self._work.queue.release(
                    items[0].tenant_id, worker, ids, delay_s=delay_s, tried=tried
                )

    async def _idle(self) -> None:
        wait_s = self._rules.idle_s * random.uniform(0.5, 1)  # noqa: S311
        with contextlib.suppress(TimeoutError):
            # Not wait_for: before Python 3.12 it forgets a cancellation that comes with the event.
            async with asyncio.timeout(wait_s):
                await self._woken.wait()
        self._woken.clear()

    async def _keep_house(self) -> None:
        """Ends the extraction process when there is no work, and removes old imports."""
        removed_at = float("-inf")
        while True:
            now = time.monotonic()
            if now - self._busy_at > self._rules.rest_after_s:
                await self._work.extraction.close()
            if now - removed_at > self._rules.removal_every_s:
                removed_at = now
                try:
                    await self._remove_old()
                except Exception as error:  # noqa: BLE001 - the next time may do
                    self._tell(error)
            await asyncio.sleep(self._rules.rest_after_s * random.uniform(0.5, 1))  # noqa: S311

    async def _remove_old(self) -> None:
        for _ in range(_REMOVALS):
            if not await self._old.remove_old(self._rules.kept_days, _REMOVED_AT_ONCE):
                return

    def _tell(self, error: Exception) -> None:
        """Once until it is over; an exception's message may quote a document."""
        if isinstance(error, StorageUnavailableError | EmbedderUnavailableError):
            if not self._troubled:
                _log.warning("imports wait: %s", error)
            self._troubled = True
        elif isinstance(error, ExtractionUnavailableError):
            _log.error("imports wait: %s", error)
        else:
            _log.error("an import failed: %s", type(error).__qualname__)
