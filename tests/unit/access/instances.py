"""Instances that share a limit, whose messages to the store are late, lost, or answered in vain."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from ailb_server.access.bucket import Bucket, LeaseRules
from ailb_server.domain.limits import Ask, Grant, Limit
from tests.support.limits import MemoryLimits

RULES = LeaseRules()


def seeded(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - repeatable, not secret


@dataclass
class Instance:
    """One bucket and its one message under way."""

    bucket: Bucket
    running: list[int] = field(default_factory=list)
    sent: tuple[Ask, float] | None = None
    grant: Grant | None = None
    renewed_at: float = 0.0


@dataclass
class World:
    """`used` is what was let in: (time, amount), negative for what came back."""

    limit: Limit
    rng: random.Random
    now: float = 1000.0
    lossy: float = 0.1
    used: list[tuple[float, int]] = field(default_factory=list)
    instances: list[Instance] = field(default_factory=list)
    store: MemoryLimits = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryLimits(lambda: self.now, RULES.ttl_s)
        for _ in range(4):
            self.start()

    def start(self) -> None:
        bucket = Bucket(self.limit, self.rng.getrandbits(60), RULES)
        self.instances.append(Instance(bucket, renewed_at=self.now))

    def crash(self) -> None:
        self.instances.remove(self.rng.choice(self.instances))
        self.start()

    def request(self, one: Instance, amount: int) -> None:
        if one.bucket.has(amount, self.now):
            one.bucket.take(amount, self.now)
            one.running.append(amount)
            self.used.append((self.now, amount))
        elif not one.bucket.waiting:
            one.bucket.waiting = [amount]

    def end(self, one: Instance, used: int | None = None) -> None:
        """One running request ends, and has used as much or a part of it."""
        if one.running:
            amount = one.running.pop(self.rng.randrange(len(one.running)))
            took = self.rng.randint(0, amount) if used is None else used
            one.bucket.release(amount, took)
            self.used.append((self.now, took - amount))

    def message(self, one: Instance) -> None:
        """The message makes one step: to the store, back from it, or it is lost."""
        lost = self.rng.random() < self.lossy
        if one.sent is None:
            one.sent = (one.bucket.ask(self.now), self.now)
        elif one.grant is None and not lost:
            (one.grant,) = self.store.exchanged([one.sent[0]])
        elif lost:
            one.bucket.failed(self.now)
            one.sent = one.grant = None
        elif one.grant is not None:
            one.bucket.answered(one.sent[0], one.grant, one.sent[1], self.now)
            one.renewed_at = one.sent[1]
            one.sent = one.grant = None
            waiting, one.bucket.waiting = one.bucket.waiting, []
            for amount in waiting:
                if one.bucket.has(amount, self.now):
                    self.request(one, amount)

    def renew(self, one: Instance) -> None:
        """What the instance's task would not put off any longer."""
        lossy, self.lossy = self.lossy, 0.0
        while one.sent is not None:
            self.message(one)
        for _ in range(3):
            self.message(one)
        self.lossy = lossy

    def recall(self) -> None:
        """What was announced is heard, mostly."""
        for _ in self.store.recalls:
            for one in self.instances:
                if self.rng.random() > self.lossy:
                    one.bucket.recalled(self.now, self.store.rows[self.limit.name].recalls)
        self.store.recalls.clear()


def most(used: Sequence[tuple[float, int]], per_second: float) -> float:
    """The most that any span of time saw beyond what came back in it."""
    worst = total = lowest = 0.0
    for at, amount in used:
        level = total - per_second * at
        lowest = min(lowest, level) if total or lowest else level
        total += amount
        worst = max(worst, total - per_second * at - lowest)
    return worst
