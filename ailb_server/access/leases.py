"""Leases of limits from a shared store: requests use what is leased, one task keeps it supplied."""

import asyncio
import contextlib
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from ailb_server.access.bucket import Bucket, LeaseRules
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.limits import Ask, Grant, Limit, LimitStore

Charges: TypeAlias = Sequence[tuple[Bucket, int]]

_log = logging.getLogger(__name__)


class LeaseObserver(Protocol):
    """Who is told of exchanges; must not block and must not raise."""

    def exchanged(self, seconds: float, limits: int) -> None:
        """One statement for so many limits."""
        ...

    def store_up(self, *, up: bool) -> None:
        """The store answers, or it does not."""
        ...


@dataclass(frozen=True, slots=True)
class EngineRules:
    """Bounds. `answer_s`: how long the store may take before it counts as away, `wait_s` how long a
    request waits for a lease; `pause_s`: how long a store that is away is left alone. `tick_s`: how
    often leases are looked at that need renewal. `batch`: limits in one statement. `max_idle`:
    unused limits that are remembered.
    """

    answer_s: float = 3.0
    wait_s: float = 5.0
    pause_s: float = 1.0
    tick_s: float = 0.5
    batch: int = 200
    max_idle: int = 20_000


class ShortageError(Exception):
    """There is not so much left of `bucket`."""

    def __init__(self, bucket: Bucket, amount: int) -> None:
        super().__init__(bucket.limit.name)
        self.bucket = bucket
        self.amount = amount


@dataclass(slots=True)
class Leases:
    """All limits that this instance knows, by name. `clock` is monotonic, in seconds."""

    store: LimitStore
    observer: LeaseObserver
    lease_rules: LeaseRules = field(default_factory=LeaseRules)
    rules: EngineRules = field(default_factory=EngineRules)
    clock: Callable[[], float] = time.monotonic
    _buckets: "OrderedDict[str, Bucket]" = field(init=False, default_factory=OrderedDict)
    _held: dict[Bucket, None] = field(init=False, default_factory=dict)
    _asked: dict[Bucket, None] = field(init=False, default_factory=dict)
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _waiters: "list[asyncio.Future[None]]" = field(init=False, default_factory=list)
    _down: bool = field(init=False, default=False)
    _paused_until: float = field(init=False, default=float("-inf"))
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)

    def start(self) -> None:
        """Begins the task that asks the store."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Gives back what is held, if the store answers; ends the task."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        now = self.clock()
        for bucket in self._held:
            bucket.recalled(now)
        for batch in _cut(list(self._held), self.rules.batch):
            await self._exchange(batch)

    @property
    def away(self) -> bool:
        """Whether the store is known not to answer."""
        return self._down

    def bucket(self, limit: Limit) -> Bucket:
        """The bucket of a limit; a limit that was changed goes on with what is held of it."""
        name = limit.name
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = Bucket(limit, secrets.randbits(62), self.lease_rules)
            self._forget_one()
        elif bucket.limit != limit:
            bucket.change(limit)
        self._buckets.move_to_end(name)
        return bucket

    def recalled(self, payload: str) -> None:
        """Another instance needs what is unused here of a limit: `name#number`."""
        name, _, number = payload.partition("#")
        bucket = self._buckets.get(name)
        if bucket is None or bucket not in self._held or not number.isdigit():
            return
        bucket.recalled(self.clock(), int(number))
        self._ask(bucket)

    def taken(self, charges: Charges) -> bool:
        """Uses all of it, if it is at hand; else nothing."""
        now = self.clock()
        for bucket, amount in charges:
            if not bucket.has(amount, now):
                return False
        self._take(charges, now)
        return True

    async def acquire(self, charges: Charges) -> None:
        """Uses all of it, or nothing. Raises ShortageError, or StorageUnavailableError if the store
        does not answer in time and too little is at hand."""
        await self.supplied(charges)
        self._take(charges, self.clock())

    async def supplied(self, charges: Charges) -> None:
        """As `acquire`, but uses nothing yet: it is at hand until the caller awaits something."""
        arrived = self.clock()
        deadline = arrived + self.rules.wait_s
        with self._waiting(charges):
            while True:
                now = self.clock()
                short = [(b, amount) for b, amount in charges if not b.has(amount, now)]
                if not short:
                    return
                for bucket, amount in short:
                    if bucket.refuses(amount, arrived, now):
                        raise ShortageError(bucket, amount)
                if now >= self._paused_until:
                    for bucket, _ in short:
                        self._ask(bucket)
                # While the store is known to be away, nobody waits to see whether it is back.
                if self._down or now >= deadline:
                    raise StorageUnavailableError("The store is unavailable.", retry_after_s=1)
                await self._answered(deadline - now)

    def force(self, charges: Charges) -> None:
        """Uses it whether it is there or not."""
        self._take(charges, self.clock())

    def release(self, bucket: Bucket, amount: int, used: int) -> None:
        """See `Bucket.release`; what others wait for is given back at once."""
        bucket.release(amount, used)
        self._held[bucket] = None
        if bucket.contended(self.clock()):
            self._ask(bucket)
        if bucket.waiting:
            self._answer()

    def look(self) -> None:
        """Asks for every lease that is due; forgets those that hold nothing."""
        now = self.clock()
        if now < self._paused_until:
            return
        for bucket in tuple(self._held):
            if not bucket.active and not bucket.asking:
                del self._held[bucket]
            elif bucket.due(now):
                self._ask(bucket)

    async def exchange_asked(self) -> None:
        """One statement for what is to be asked; tells those who wait."""
        batch = list(self._asked)[: self.rules.batch]
        for bucket in batch:
            del self._asked[bucket]
        try:
            if batch:
                await self._exchange(batch)
        finally:
            self._answer()

    def _take(self, charges: Charges, now: float) -> None:
        for bucket, amount in charges:
            if amount:
                bucket.take(amount, now)
                if bucket.free < bucket.low and not bucket.asking and now >= self._paused_until:
                    self._ask(bucket)

    def _ask(self, bucket: Bucket) -> None:
        self._held[bucket] = None
        wait_s = bucket.retry_at - self.clock()
        if wait_s <= 0:
            self._asked[bucket] = None
            self._wake.set()

    @contextlib.contextmanager
    def _waiting(self, charges: Charges) -> Iterator[None]:
        wanted = [(bucket, amount) for bucket, amount in charges if amount]
        for bucket, amount in wanted:
            bucket.waiting.append(amount)
        try:
            yield
        finally:
            now = self.clock()
            for bucket, amount in wanted:
                bucket.waiting.remove(amount)
                # What was kept for this one, others wait for.
                if bucket.free > 0 and bucket.contended(now):
                    self._ask(bucket)

    def _answer(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _answered(self, wait_s: float) -> None:
        """Returns when there may be more: after a statement, or a request; or after `wait_s`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await waiter

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self.rules.tick_s if self._held else None):
                    await self._wake.wait()
            except TimeoutError:
                self.look()
            self._wake.clear()
            if self._asked:
                await self.exchange_asked()
                # Those who waited use what came before it is asked about again.
                await asyncio.sleep(0)
                if self._asked:
                    self._wake.set()

    async def _exchange(self, batch: Sequence[Bucket]) -> None:
        sent = self.clock()
        asks = [bucket.ask(sent) for bucket in batch]
        try:
            async with asyncio.timeout(self.rules.answer_s):
                grants = await self.store.exchange(asks)
        except (StorageUnavailableError, TimeoutError):
            self._failed(batch)
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the task that every limit hangs on, nor pass unseen.
            _log.exception("limits could not be exchanged with the store")
            self._failed(batch)
        else:
            self._granted(batch, asks, grants, sent)

    def _failed(self, batch: Sequence[Bucket]) -> None:
        now = self.clock()
        if not self._down:
            _log.warning(
                "the store does not answer: limits go by what is leased, then LIMITS_OUTAGE"
            )
        self._down = True
        self._paused_until = now + self.rules.pause_s
        self.observer.store_up(up=False)
        for bucket in batch:
            bucket.failed(now)

    def _granted(
        self, batch: Sequence[Bucket], asks: Sequence[Ask], grants: Sequence[Grant], sent: float
    ) -> None:
        now = self.clock()
        self._down, self._paused_until = False, float("-inf")
        self.observer.store_up(up=True)
        self.observer.exchanged(now - sent, len(batch))
        for bucket, ask, grant in zip(batch, asks, grants, strict=True):
            bucket.answered(ask, grant, sent, now)
            if bucket.retry_at > now:
                loop = asyncio.get_running_loop()
                loop.call_later(bucket.retry_at - now, self._again, bucket)
            if bucket.unheard:
                self._ask(bucket)

    def _again(self, bucket: Bucket) -> None:
        bucket.retry_at = float("-inf")
        if bucket.waiting or bucket.due(self.clock()):
            self._ask(bucket)

    def _forget_one(self) -> None:
        if len(self._buckets) > self.rules.max_idle:
            oldest = next(iter(self._buckets.values()))
            if oldest not in self._held:
                del self._buckets[oldest.limit.name]


def _cut(buckets: Sequence[Bucket], size: int) -> Iterator[Sequence[Bucket]]:
    for start in range(0, len(buckets), size):
        yield buckets[start : start + size]
