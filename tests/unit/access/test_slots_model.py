"""Slots on several instances under random load: whoever is refused met a moment without one."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from ailb_server.access.leases import Leases, ShortageError
from ailb_server.domain.limits import Ask, Grant
from tests.support.limits import MemoryLimits, slots
from tests.support.virtual_time import run

SEEDS = range(6)
REQUESTS = 400


class Quiet:
    """An observer."""

    def exchanged(self, seconds: float, limits: int) -> None: ...

    def store_up(self, *, up: bool) -> None: ...


@dataclass
class Far:
    """The store, some milliseconds away from an instance; announcements take theirs."""

    world: "World"

    async def exchange(self, asks: Sequence[Ask]) -> Sequence[Grant]:
        await asyncio.sleep(self.world.delay())
        grants = self.world.store.exchanged(asks)
        self.world.announce()
        await asyncio.sleep(self.world.delay())
        return grants


@dataclass
class World:
    """`running` is how many requests run, on all instances; `moments` when that changed."""

    cap: int
    rng: random.Random
    count: int = 4
    running: int = 0
    moments: list[tuple[float, int]] = field(default_factory=list)
    refused: list[tuple[float, float]] = field(default_factory=list)
    admitted: int = 0
    store: MemoryLimits = field(init=False)
    instances: list[Leases] = field(default_factory=list)

    def __post_init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.store = MemoryLimits(loop.time)
        self.moments.append((loop.time(), 0))
        for _ in range(self.count):
            leases = Leases(Far(self), Quiet(), clock=loop.time)
            leases.start()
            self.instances.append(leases)

    def delay(self) -> float:
        return self.rng.choice((0.0002, 0.001, 0.003, 0.02))

    def announce(self) -> None:
        loop = asyncio.get_running_loop()
        for payload in self.store.announced():
            for one in self.instances:
                loop.call_later(self.delay(), one.recalled, payload)

    def changed(self, by: int) -> None:
        self.running += by
        assert self.running <= self.cap, "more run than may"
        self.moments.append((asyncio.get_running_loop().time(), self.running))

    async def request(self, one: Leases, lasts_s: float) -> None:
        loop = asyncio.get_running_loop()
        bucket, arrived = one.bucket(slots(self.cap)), loop.time()
        try:
            await one.acquire([(bucket, 1)])
        except ShortageError:
            self.refused.append((arrived, loop.time()))
            return
        self.admitted += 1
        self.changed(1)
        try:
            await asyncio.sleep(lasts_s)
        finally:
            self.changed(-1)
            one.release(bucket, 1, 0)

    def false_refusals(self) -> list[tuple[float, float]]:
        """Those during all of whose wait a place was free."""
        return [span for span in self.refused if self._most(*span) < self.cap]

    def _most(self, since: float, until: float) -> int:
        before = [n for at, n in self.moments if at < since]
        within = [n for at, n in self.moments if since <= at <= until]
        return max([before[-1] if before else 0, *within])

    async def close(self) -> None:
        for one in self.instances:
            await one.close()


async def _client(world: World, turns: int) -> None:
    """One request after the other, each on any instance: at most so many run as there are
    clients, and the next comes as soon as the one before has ended."""
    for _ in range(turns):
        await world.request(world.rng.choice(world.instances), world.rng.choice((0.0, 0.004, 0.05)))
        await asyncio.sleep(world.rng.choice((0.0, 0.0, 0.001, 0.1, 0.7)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cap", [1, 3, 40])
def test_as_many_clients_as_slots_are_never_refused(seed: int, cap: int) -> None:
    async def main() -> None:
        world = World(cap, random.Random(seed))  # noqa: S311
        clients = [_client(world, REQUESTS // cap) for _ in range(cap)]
        await asyncio.gather(*clients)
        assert world.refused == []
        assert world.admitted == REQUESTS // cap * cap
        await world.close()

    run(main())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("cap", [1, 4, 40])
def test_nobody_is_refused_while_a_slot_is_free(seed: int, cap: int) -> None:
    async def main() -> None:
        rng = random.Random(seed)  # noqa: S311
        world, tasks = World(cap, rng), []
        for _ in range(REQUESTS):
            await asyncio.sleep(rng.choice((0.0, 0.0005, 0.002, 0.01, 0.02)) * 8 / (cap + 4))
            lasts_s = rng.choice((0.001, 0.01, 0.05, 0.4))
            task = asyncio.create_task(world.request(rng.choice(world.instances), lasts_s))
            tasks.append(task)
            if rng.random() < 0.1:
                rng.choice(tasks).cancel()
        await asyncio.wait(tasks)
        assert world.refused, "the load was too small to tell anything"
        assert world.false_refusals() == []
        await world.close()

    run(main())
