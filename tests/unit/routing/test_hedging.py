"""A second target when the first one is late, in time that passes only as it must."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import UpstreamTimeoutError, UpstreamUnavailableError
from ailb_server.domain.target import Target
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.limits import ProviderLimits
from tests.unit.doubles import FakeProvider, chunk
from tests.unit.routing.clock import Clock, run
from tests.unit.routing.dispatching import P, Q, Setup

Says: TypeAlias = Sequence[ChatChunk | Exception | float | None]

_DOWN = UpstreamUnavailableError("down")
_LATE = UpstreamTimeoutError("late")


def test_a_late_first_token_is_hedged_and_the_slower_is_cancelled(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    slow, fast = FakeProvider(says=[9.0, chunk("p")]), FakeProvider(says=[0.5, chunk("q")])
    setup = Setup(slow, fast, clock=clock, hedge_after_s=2)
    began = clock.now

    async def main() -> None:
        assert (await setup.answer())[0] == Q

    run(clock, main())
    assert clock.now - began == pytest.approx(2.5)
    assert setup.log == ["p open m", "q open vendor/m", "p closed", "read", "q closed"]
    assert setup.seen == [(Q, None)], "to be left is no failure"
    assert setup.ledger.state(P).totals.abandoned == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert setup.idle()


@pytest.mark.parametrize(
    ("first", "second", "winner"),
    [
        ([1.0, chunk()], [None], P),
        ([3.0, chunk()], [5.0, chunk()], P),
        ([3.0, _DOWN], [5.0, chunk()], Q),
        ([9.0, _DOWN], [0.5, chunk()], Q),
        ([9.0, chunk()], [0.5, _DOWN], P),
        ([1.0, _DOWN], [0.5, chunk()], Q),
        ([3.0, chunk()], [1.0, chunk()], None),
    ],
)
def test_whoever_answers_first_wins(first: Says, second: Says, winner: Target | None) -> None:
    clock = Clock()
    setup = Setup(
        FakeProvider(says=first),
        FakeProvider(says=second),
        clock=clock,
        hedge_after_s=2,
    )

    async def main() -> None:
        target, _ = await setup.answer()
        assert winner is None or target == winner
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(clock, main())
    assert setup.log.count("p closed") <= 1
    assert setup.idle()


@dataclass
class _Pooled(FakeProvider):
    """Has as many connections as are in use, but for `free` ones."""

    free: int = 0

    def has_room(self) -> bool:
        return self.free > 0


def _hedged(second: FakeProvider, limits: ProviderLimits | None = None) -> tuple[Setup, float]:
    """Asks twice at once, the first target late; the seconds it took."""
    clock = Clock()
    limited = {"q": limits} if limits else None
    first = FakeProvider(says=[9.0, chunk("p")])
    setup = Setup(first, second, clock=clock, hedge_after_s=2, limits=limited)
    began = clock.now

    async def main() -> None:
        await asyncio.gather(setup.answer(), setup.answer())

    run(clock, main())
    assert setup.idle()
    return setup, clock.now - began


def test_a_hedge_never_waits_for_a_connection_behind_others() -> None:
    says: Says = [0.5, chunk("q")]
    setup, seconds = _hedged(_Pooled(says=says))
    assert seconds == pytest.approx(9)
    assert not any(line.startswith("q") for line in setup.log)
    setup, seconds = _hedged(_Pooled(says=says, free=1))
    assert seconds == pytest.approx(2.5)


def test_a_hedge_takes_no_more_than_its_provider_bears() -> None:
    second = FakeProvider(says=[0.5, chunk("q")])
    setup, seconds = _hedged(second, ProviderLimits(max_concurrent=1))
    assert seconds == pytest.approx(9), "one is hedged, the other is not"
    assert setup.log.count("q open vendor/m") == 1


def test_who_could_not_be_a_hedge_is_still_asked_when_the_first_fails() -> None:
    clock = Clock()
    first = FakeProvider(says=[3.0, _DOWN])
    setup = Setup(first, _Pooled(says=[chunk("q")]), clock=clock, hedge_after_s=1)

    async def main() -> None:
        assert (await setup.answer())[0] == Q

    run(clock, main())


def test_both_hedged_fail() -> None:
    clock = Clock()
    setup = Setup(
        FakeProvider(says=[3.0, _DOWN]),
        FakeProvider(says=[3.0, _LATE]),
        clock=clock,
        hedge_after_s=1,
    )

    async def main() -> None:
        with pytest.raises(UpstreamTimeoutError):
            await setup.answer()

    run(clock, main())
    assert [state.consecutive_failures for state in map(setup.ledger.state, (P, Q))] == [1, 1]
    assert setup.idle()


def test_hedging_costs_no_target_once_the_budget_is_spent() -> None:
    clock = Clock()
    stalling = FakeProvider(says=[2.0, _LATE])
    setup = Setup(stalling, FakeProvider(says=[chunk("q")]), clock=clock, hedge_after_s=0.2)

    async def main() -> list[Target]:
        return [t for t, _ in await asyncio.gather(*(setup.answer() for _ in range(300)))]

    assert run(clock, main()) == [Q] * 300
    assert setup.idle()


def test_a_target_that_hangs_behind_hedges_is_found_out() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[None]), clock=clock, hedge_after_s=1)

    async def main() -> float:
        for _ in range(20):
            await setup.answer()
        began = clock.now
        await setup.answer()
        return clock.now - began

    assert run(clock, main()) == 0, "nobody waits for it any more"
    state = setup.ledger.state(P)
    assert state.breaker.state(clock.now) is not BreakerState.CLOSED
    assert (state.totals.failed, state.totals.abandoned) == (0, state.totals.attempts)
    assert setup.idle()


def test_a_hedge_that_loses_is_not_to_blame() -> None:
    clock = Clock()
    first, second = FakeProvider(says=[3.0, chunk()]), FakeProvider(says=[None])
    setup = Setup(first, second, clock=clock, hedge_after_s=1)

    async def main() -> None:
        for _ in range(20):
            assert (await setup.answer())[0] == P

    run(clock, main())
    assert [setup.ledger.state(t).consecutive_failures for t in (P, Q)] == [0, 0]


def test_who_loses_is_paid_for_what_was_seen() -> None:
    clock = Clock()
    setup = Setup(FakeProvider(says=[None]), clock=clock, hedge_after_s=1)
    run(clock, setup.answer())
    totals = setup.ledger.state(P).totals
    assert totals.usage.prompt > 0, "its prompt was sent"
    assert totals.usage.completion == 0


def test_who_answers_in_the_same_moment_is_paid_too_and_has_not_succeeded() -> None:
    usage = TokenUsage(10, 5)
    says: Says = [1.0, chunk(usage=usage)]
    clock = Clock()
    # The hedge is sent at 0.5 s and answers at 1 s, as the first does.
    second = FakeProvider(says=[0.5, chunk(usage=usage)])
    setup = Setup(FakeProvider(says=says), second, clock=clock, hedge_after_s=0.5)

    async def main() -> Target:
        async with setup.open() as answer:
            return answer.target

    winner = run(clock, main())
    loser = setup.ledger.state(Q if winner == P else P).totals
    assert (loser.successful, loser.abandoned) == (0, 1)
    assert loser.usage == usage
    assert setup.ledger.state(winner).totals.successful == 1
    assert setup.idle()
