"""Upstreams that fail, in time that passes only as it must."""

import asyncio
from collections import Counter

import pytest

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import (
    AilbError,
    OverloadedError,
    UpstreamMisconfiguredError,
    UpstreamRateLimitedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.dispatcher import DispatchRules
from ailb_server.routing.limits import ProviderLimits
from tests.unit.doubles import FakeProvider, chunk
from tests.unit.routing.clock import Clock, run
from tests.unit.routing.dispatching import P, Q, Setup

_DOWN = UpstreamUnavailableError("down")
_LIMITED = UpstreamRateLimitedError("slow down", retry_after_s=3)
_LATE = UpstreamTimeoutError("late")

# What a provider's adapter makes of each way to break before the first valid event.
WAYS = {
    "refused": FakeProvider(refusal=_DOWN),
    "reset": FakeProvider(says=[_DOWN]),
    "429": FakeProvider(refusal=_LIMITED),
    "5xx": FakeProvider(refusal=UpstreamUnavailableError("500", retry_after_s=2)),
    "error-in-200": FakeProvider(says=[UpstreamUnavailableError("an error in a success")]),
    "stall": FakeProvider(says=[5.0, _LATE]),
    "cut": FakeProvider(says=[]),
    "malformed": FakeProvider(says=[UpstreamUnavailableError("malformed")]),
    "credential": FakeProvider(refusal=UpstreamMisconfiguredError("no")),
    "hang": FakeProvider(refusals=[], says=[0.2, _LATE]),
}


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize("at_once", [1, 300])
def test_all_are_answered_by_the_second_however_the_first_is_broken(way: str, at_once: int) -> None:
    clock = Clock()
    setup = Setup(WAYS[way], clock=clock)

    async def main() -> Counter[str]:
        answered: Counter[str] = Counter()
        for _ in range(300 // at_once):
            answers = await asyncio.gather(*(setup.answer() for _ in range(at_once)))
            answered.update(target.provider for target, _ in answers)
        return answered

    assert run(clock, main()) == {"q": 300}
    assert setup.idle()
    asked = sum(target == P for target, _ in setup.seen)
    if at_once == 1:
        assert asked < 150, "most are not even sent to the broken one"


@pytest.mark.parametrize("failure", [_DOWN, _LATE, UpstreamMisconfiguredError("no")])
def test_a_target_that_recovers_gets_its_requests_back(failure: AilbError) -> None:
    clock = Clock()
    first = FakeProvider(says=[chunk()], refusals=[failure] * 6)
    setup = Setup(first, clock=clock)

    async def main() -> Counter[str]:
        for _ in range(600):
            await setup.answer()
            await asyncio.sleep(1.0)
        return Counter([(await setup.answer())[0].provider for _ in range(100)])

    assert run(clock, main()) == {"p": 100}
    assert setup.ledger.state(P).breaker.state(clock.now) is BreakerState.CLOSED


def test_only_one_request_at_a_time_probes() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[1.0, _LATE]), clock=clock)
    state = setup.ledger.state(P)
    state.breaker.failures_in_row = 4
    peak = 0

    async def watch() -> None:
        nonlocal peak
        for _ in range(600):
            await asyncio.sleep(0.1)
            peak = max(peak, state.in_flight)

    async def main() -> None:
        await setup.answer()
        watching = asyncio.create_task(watch())
        for _ in range(60):
            await asyncio.gather(*(setup.answer() for _ in range(20)), asyncio.sleep(1))
        await watching

    run(clock, main())
    assert peak == 1


def test_when_all_are_down_one_at_a_time_is_let_through_and_the_rest_are_told_when() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[0.5, _DOWN]), clock=clock)

    async def ask() -> float | None:
        with pytest.raises(UpstreamUnavailableError) as raised:
            await setup.answer("alone")
        return raised.value.retry_after_s

    async def main() -> list[float | None]:
        for _ in range(5):
            await ask()
        setup.seen.clear()
        return await asyncio.gather(*(ask() for _ in range(50)))

    told = run(clock, main())
    assert len(setup.seen) == 1
    assert all(seconds is not None and 0 < seconds <= 60 for seconds in told)


def test_a_lone_target_that_is_well_again_is_found_by_the_next_request() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[chunk()], refusals=[_DOWN] * 20), clock=clock)

    async def main() -> None:
        for _ in range(20):
            with pytest.raises(UpstreamUnavailableError, match="down"):
                await setup.answer("alone")
        await setup.answer("alone")
        await asyncio.gather(*(setup.answer("alone") for _ in range(20)))

    run(clock, main())
    assert setup.outcome() == "answered"


def test_a_general_outage_does_not_multiply_the_load() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[30.0, _LATE]), FakeProvider(says=[30.0, _LATE]), clock=clock)

    async def main() -> None:
        for _ in range(3):
            gathered = (setup.answer() for _ in range(1000))
            failures = await asyncio.gather(*gathered, return_exceptions=True)
            assert all(isinstance(failure, AilbError) for failure in failures)

    run(clock, main())
    assert len(setup.seen) <= 1000 * 2 + 2 * (0.2 * 1000 + 110)
    assert setup.idle()


def test_a_lone_limited_target_is_waited_for_exactly_as_long_as_it_says() -> None:
    clock = Clock()
    limited = UpstreamRateLimitedError("x", retry_after_s=7)
    setup = Setup(FakeProvider(says=[chunk()], refusals=[limited]), clock=clock)
    began = clock.now

    async def main() -> None:
        await setup.answer("alone")

    run(clock, main())
    assert clock.now - began == pytest.approx(7, abs=0.02)
    assert clock.now - began >= 7
    assert setup.outcome() == "answered"


@pytest.mark.parametrize(
    ("retry_after_s", "time_left_s"), [(40.0, None), (3.0, 2.0), (3600.0, 3000.0)]
)
def test_a_wait_beyond_the_deadline_is_refused_at_once(
    retry_after_s: float, time_left_s: float | None
) -> None:
    clock = Clock()
    limited = UpstreamRateLimitedError("x", retry_after_s=retry_after_s)
    setup = Setup(FakeProvider(refusal=limited), clock=clock)
    began = clock.now

    async def main() -> None:
        for _ in range(2):
            with pytest.raises(UpstreamRateLimitedError) as raised:
                await setup.answer("alone", time_left_s=time_left_s)
            assert raised.value.retry_after_s == retry_after_s

    run(clock, main())
    assert clock.now == began
    assert len(setup.seen) == 1


def test_nobody_waits_longer_than_a_request_may_take() -> None:
    clock = Clock()
    limited = UpstreamRateLimitedError("x", retry_after_s=6)
    rules = DispatchRules(total_s=3, queue_s=30)
    setup = Setup(FakeProvider(refusal=limited), clock=clock, rules=rules)
    began = clock.now

    async def main() -> None:
        with pytest.raises(UpstreamRateLimitedError) as raised:
            await setup.answer("alone")
        assert raised.value.retry_after_s == 6

    run(clock, main())
    assert clock.now == began


def _limit(seconds: float | None) -> UpstreamRateLimitedError:
    return UpstreamRateLimitedError("x", retry_after_s=seconds)


def _full(seconds: float) -> UpstreamUnavailableError:
    return UpstreamUnavailableError("503", retry_after_s=seconds)


@pytest.mark.parametrize(
    ("first", "second", "told_s"),
    [
        (_limit(50), _limit(600), 50),
        (_limit(600), _limit(50), 50),
        (_limit(60), _DOWN, 1),
        (_DOWN, _limit(60), 1),
        (_full(30), _full(3), 3),
        (_DOWN, _DOWN, 1),
        (_full(0), _full(0), 1),
    ],
)
def test_callers_are_told_when_the_first_may_be_asked_again(
    first: Exception, second: Exception, told_s: float
) -> None:
    clock = Clock()
    setup = Setup(FakeProvider(refusal=first), FakeProvider(refusal=second), clock=clock)

    async def main() -> None:
        with pytest.raises(AilbError) as raised:
            await setup.answer()
        assert raised.value.retry_after_s == pytest.approx(told_s)

    run(clock, main())


def test_a_provider_that_says_at_once_is_not_hammered() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(refusal=UpstreamRateLimitedError("x", retry_after_s=0)), clock=clock)

    async def main() -> None:
        with pytest.raises(UpstreamRateLimitedError):
            await setup.answer("alone")

    run(clock, main())
    assert len(setup.seen) <= 10


def test_those_who_wait_are_bounded() -> None:
    clock = Clock()
    limited = UpstreamRateLimitedError("x", retry_after_s=10)
    rules = DispatchRules(queue_places=5)
    setup = Setup(FakeProvider(says=[chunk()], refusals=[limited]), clock=clock, rules=rules)

    async def main() -> list[object]:
        asked = (setup.answer("alone") for _ in range(20))
        return list(await asyncio.gather(*asked, return_exceptions=True))

    answers = run(clock, main())
    refused = [answer for answer in answers if isinstance(answer, OverloadedError)]
    # The others were sent before the refusal was known, or after the wait.
    assert 0 < len(refused) <= 15
    assert not any(isinstance(answer, UpstreamRateLimitedError) for answer in answers)
    assert all(answer.retry_after_s for answer in refused)
    assert setup.idle()


def test_a_full_provider_is_passed_over_and_a_lone_one_is_waited_for() -> None:
    clock = Clock()
    first = FakeProvider(says=[2.0, chunk()])
    setup = Setup(first, clock=clock, limits={"p": ProviderLimits(max_concurrent=2)})
    began = clock.now

    async def main() -> tuple[Counter[str], float]:
        answers = await asyncio.gather(*(setup.answer() for _ in range(10)))
        passed = clock.now - began
        await asyncio.gather(*(setup.answer("alone") for _ in range(6)))
        return Counter(target.provider for target, _ in answers), passed

    answered, passed = run(clock, main())
    assert answered == {"p": 2, "q": 8}
    assert passed == pytest.approx(2)
    assert clock.now - began == pytest.approx(8, abs=0.1), "three rounds of two"
    assert setup.idle()


def test_requests_per_minute_are_kept() -> None:
    clock = Clock()
    limits = {"p": ProviderLimits(requests_per_minute=30)}
    setup = Setup(FakeProvider(says=[chunk()]), clock=clock, limits=limits)
    times: list[float] = []

    async def main() -> None:
        for _ in range(600):
            target, _ = await setup.answer()
            if target == P:
                times.append(clock.now)
            await asyncio.sleep(0.5)

    run(clock, main())
    assert len(times) >= 4 * 30
    for start in times:
        assert sum(start <= time < start + 60 for time in times) <= 30


def test_the_total_timeout_bounds_all_attempts_together() -> None:
    clock = Clock()
    rules = DispatchRules(total_s=10)
    slow = FakeProvider(says=[6.0, _DOWN])
    setup = Setup(slow, FakeProvider(says=[None]), clock=clock, rules=rules)
    began = clock.now

    async def main() -> None:
        with pytest.raises(UpstreamTimeoutError):
            await setup.answer()

    run(clock, main())
    assert clock.now - began == pytest.approx(10)
    assert setup.outcome() == "upstream_timeout"
    assert setup.idle()
    assert setup.ledger.state(Q).consecutive_failures == 0, "it had four seconds only"


def test_a_target_that_takes_all_of_the_total_is_blamed() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[None]), clock=clock, rules=DispatchRules(total_s=10))

    async def main() -> None:
        with pytest.raises(UpstreamTimeoutError):
            await setup.answer()

    run(clock, main())
    assert setup.ledger.state(P).consecutive_failures == 1
    assert setup.idle()


def test_the_total_bounds_the_answer_of_a_later_attempt_too() -> None:
    clock = Clock()
    rules = DispatchRules(total_s=10)
    more: list[ChatChunk | Exception | float | None] = [1.0, chunk()]
    second = FakeProvider(says=[chunk(), *more * 20])
    setup = Setup(FakeProvider(says=[6.0, _DOWN]), second, clock=clock, rules=rules)
    began = clock.now

    async def main() -> None:
        with pytest.raises(UpstreamTimeoutError):
            await setup.answer()

    run(clock, main())
    assert clock.now - began == pytest.approx(10)
    assert setup.idle()


def test_what_a_dark_targets_provider_says_comes_before_the_end_of_the_dark() -> None:
    clock = Clock()
    limited = UpstreamRateLimitedError("x", retry_after_s=40)
    refused = UpstreamMisconfiguredError("no")
    setup = Setup(FakeProvider(refusal=limited, refusals=[refused]), clock=clock)

    async def main() -> list[float | None]:
        told = []
        for _ in range(2):
            with pytest.raises(AilbError) as raised:
                await setup.answer("alone")
            told.append(raised.value.retry_after_s)
        return told

    assert run(clock, main()) == [60, 40]
