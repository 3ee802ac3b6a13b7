"""Leases of one limit on several instances: never more than there is, whatever happens."""

import pytest

from ailb_server.access.bucket import Bucket
from ailb_server.domain.limits import Grant, Limit
from tests.support.limits import budget, rpm, slots
from tests.unit.access.instances import RULES, World, most, seeded

SEEDS = range(25)
STEPS = 1500


def granted(amount: int) -> Grant:
    return Grant(
        kept=True, granted=amount, left=0, elsewhere=0, unanswered=0, recalls=0, others=0, spent=0
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_no_span_of_time_sees_more_than_the_rate_and_the_burst(seed: int) -> None:
    rng = seeded(seed)
    world = World(rpm(rng.choice((60, 600, 6000)), rng.choice((5, 60, 400))), rng)
    for _ in range(STEPS):
        pause = rng.choice((0.5, 3.0, 20.0)) if rng.random() < 0.02 else 0.0
        world.now += rng.choice((0.0, 0.0, 0.001, 0.02, 0.1, pause))
        one = rng.choice(world.instances)
        match rng.randrange(8):
            case 0 | 1 | 2:
                world.request(one, rng.randint(1, world.limit.cap // 4 + 1))
            case 3:
                world.end(one)
            case 4 if rng.random() < 0.1:
                world.crash()
            case 5:
                world.recall()
            case _:
                world.message(one)
    assert len(world.used) > 20
    assert most(world.used, world.limit.rate / 60) <= world.limit.cap + 1e-6


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("limit", [budget(1000), slots(30)], ids=lambda x: x.quantity)
def test_what_runs_and_what_was_spent_never_exceed_the_whole(seed: int, limit: Limit) -> None:
    rng = seeded(seed)
    world = World(limit, rng)
    money = bool(world.limit.period)
    for step in range(STEPS):
        world.now += rng.choice((0.0, 0.001, 0.05, 0.4))
        for one in world.instances:
            if world.now - one.renewed_at > 6:
                world.renew(one)
        one = rng.choice(world.instances)
        match rng.randrange(8):
            case 0 | 1:
                world.request(one, rng.randint(0, 40) if money else 1)
            case 2 | 3:
                world.end(one, None if money and rng.random() < 0.2 else 0)
            case 4 if rng.random() < 0.1:
                world.crash()
            case 5:
                world.recall()
            case _:
                world.message(one)
        row = world.store.rows.get(world.limit.name)
        spent = row.spent if row else 0
        told = {name: lease.settled for name, lease in row.leases.items()} if row else {}
        untold = sum(i.bucket.settled - told.get(i.bucket.lease, 0) for i in world.instances)
        running = sum(sum(i.running) for i in world.instances)
        assert spent + untold + running <= world.limit.cap, step


@pytest.mark.parametrize("limit", [rpm(600, 60), budget(1000), slots(30)], ids=lambda x: x.quantity)
def test_all_of_it_comes_back_when_nobody_uses_it(limit: Limit) -> None:
    rng = seeded(3)
    world = World(limit, rng)
    for _ in range(300):
        world.now += 0.05
        one = rng.choice(world.instances)
        world.request(one, 1)
        world.message(one)
        world.end(one, 0)
    world.now += 30
    for one in world.instances:
        one.running.clear()
        one.bucket.release(one.bucket.bound, 0)
        world.renew(one)
    # What was void when it would have been given back counts as used, and is refilled.
    world.now += 10
    world.renew(world.instances[0])
    row = world.store.rows[world.limit.name]
    assert sum(lease.held for lease in row.leases.values()) == 0
    assert (row.level // 60_000_000 if world.limit.rate else row.cap - row.spent) == row.cap


def test_a_lease_that_could_not_be_renewed_is_void_before_the_store_gives_it_away() -> None:
    bucket = Bucket(rpm(60), 1, RULES)
    bucket.waiting = [1]
    ask = bucket.ask(0.0)
    bucket.answered(ask, granted(5), 0.0, 0.001)
    assert bucket.has(5, RULES.ttl_s - RULES.margin_s - 0.01)
    assert not bucket.has(1, RULES.ttl_s - RULES.margin_s)


def test_more_tokens_than_were_charged_are_a_debt_of_all() -> None:
    world = World(rpm(600, 60), seeded(1), lossy=0.0)
    one, other = world.instances[:2]
    world.request(one, 10)
    world.renew(one)
    world.request(one, 10)
    one.bucket.release(10, 500)
    world.renew(one)
    world.request(other, 1)
    world.renew(other)
    assert not other.bucket.has(1, world.now)
    assert other.bucket.remaining(world.now) == -440
    assert other.bucket.wait_s(1, world.now) == pytest.approx(44.1)


def test_a_refusal_holds_for_a_moment_and_no_longer() -> None:
    bucket = Bucket(rpm(60), 1, RULES)
    bucket.waiting = [1]
    ask = bucket.ask(10.0)
    bucket.answered(ask, granted(0), 10.0, 10.001)
    assert bucket.refuses(1, arrived=9.9, now=10.002)
    assert bucket.refuses(1, arrived=10.2, now=10.2)
    assert not bucket.refuses(1, arrived=11.0, now=11.0)


def test_what_a_dead_lease_may_have_used_last_is_not_refilled_twice() -> None:
    world = World(rpm(60, 100), seeded(1), lossy=0.0)
    one, other = world.instances[:2]
    one.bucket.waiting = [50]
    world.renew(one)
    world.now += RULES.ttl_s - RULES.margin_s - 0.1
    # Its message was lost, its requests were not; then it dies.
    one.bucket.take(50, world.now)
    world.now += 7.1
    other.bucket.waiting = [55]
    world.renew(other)
    assert other.bucket.low == 0
    assert not other.bucket.has(56, world.now)
    assert world.store.rows[world.limit.name].level < 60_000_000


def test_what_comes_back_late_does_not_exceed_the_burst() -> None:
    world = World(rpm(60, 100), seeded(1), lossy=0.0)
    one = world.instances[0]
    world.request(one, 100)
    world.renew(one)
    assert one.running == [100]
    # Told, so that there is room for it to come back.
    world.renew(one)
    world.now += 60
    world.request(one, 60)
    world.message(one)
    world.message(one)
    assert one.grant is not None
    world.now += 0.01
    one.bucket.waiting = []
    world.message(one)
    assert one.bucket.has(60, world.now)
    # The first one used nothing, as it turns out; meanwhile its tokens were refilled.
    one.bucket.release(100, 0)
    assert not one.bucket.has(61, world.now)
    assert one.bucket.remaining(world.now) <= 100
    world.renew(one)
    row = world.store.rows[world.limit.name]
    assert row.level // 60_000_000 + sum(lease.held for lease in row.leases.values()) <= 100
