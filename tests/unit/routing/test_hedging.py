"""A second target when the first one is late, in time that passes only as it must."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pytest

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import UpstreamTimeoutError, UpstreamUnavailableError
from ailb_server.domain.target import Target
from ailb_server.routing.limits import ProviderLimits
from tests.unit.doubles import FakeProvider, chunk
from tests.unit.routing.clock import Clock, run
from tests.unit.routing.dispatching import P, Q, Setup

Says: TypeAlias = Sequence[ChatChunk | Exception | float | None]

_DOWN = UpstreamUnavailableError("down")
_LATE = UpstreamTimeoutError("late")


def test_a_late_first_token_is_hedged_and_the_slower_is_cancelled() -> None:
    clock = Clock()
    slow, fast = FakeProvider(says=[9.0, chunk("p")]), FakeProvider(says=[0.5, chunk("q")])
    setup = Setup(slow, fast, clock=clock, hedge_after_s=2)
    began = clock.now

    async def main() -> None:
        assert (await setup.answer())[0] == Q

    run(clock, main())
    assert clock.now - began == pytest.approx(2.5)
    assert setup.log == ["p open m", "q open vendor/m", "p closed", "read", "q closed"]
    assert setup.seen == [(P, "ABANDONED"), (Q, None)] or set(setup.seen) == {
        (P, "ABANDONED"),
        (Q, None),
    }
    assert setup.ledger.state(P).totals.abandoned == 1
    assert setup.ledger.state(P).consecutive_failures == 0
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
