"""Attempts in order until one answers; what was opened is closed, whichever way it ends."""

import asyncio
from collections.abc import Sequence

import pytest

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import (
    InvalidRequestError,
    UntranslatableError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from tests.unit.doubles import FakeProvider, chat, chunk

_P, _Q = Target("p", "m"), Target("q", "vendor/m")
_DOWN = UpstreamUnavailableError("down")
_REJECTED = UpstreamRejectedError("no", UpstreamReply(400, "", b""), provider="p")


class _Setup:
    """Two providers that log into one list, and all that is told of their attempts."""

    def __init__(self, p: FakeProvider, q: FakeProvider | None = None) -> None:
        self.log: list[str] = []
        self.ledger = Ledger()
        self.seen: list[tuple[Target, str | None]] = []
        q = q or FakeProvider(says=[chunk("q")])
        p.name, q.name = "p", "q"
        p.log = q.log = self.log
        self.dispatcher = Dispatcher({"p": p, "q": q}, self.ledger, self._see)

    def _see(self, target: Target, seconds: float, failure: str | None) -> None:
        assert seconds >= 0
        self.seen.append((target, failure))

    async def answer(self, plan: Sequence[Target] = (_P, _Q)) -> tuple[Target, list[ChatChunk]]:
        async with self.dispatcher.open(plan, chat()) as answer:
            assert answer.waited_s >= 0
            chunks = [answer.first, *[later async for later in answer.rest]]
            self.log.append("read")
            return answer.target, chunks

    def idle(self) -> bool:
        return all(self.ledger.state(target).in_flight == 0 for target in (_P, _Q))


async def test_the_first_target_answers() -> None:
    said = [chunk("1"), chunk("2"), chunk("3")]
    setup = _Setup(FakeProvider(says=said))
    assert await setup.answer() == (_P, said)
    assert setup.log == ["p open m", "read", "p closed"]
    assert setup.seen == [(_P, None)]
    assert setup.idle()


@pytest.mark.parametrize(
    "failing",
    [
        FakeProvider(refusal=_DOWN),
        FakeProvider(refusal=UpstreamRateLimitedError("slow down")),
        FakeProvider(says=[UpstreamTimeoutError("late")]),
        FakeProvider(says=[]),
    ],
    ids=["refused", "rate-limited", "before-first-chunk", "without-chunks"],
)
async def test_fails_over_before_the_first_chunk(failing: FakeProvider) -> None:
    setup = _Setup(failing)
    target, _ = await setup.answer()
    assert target == _Q
    assert [(target, bool(failure)) for target, failure in setup.seen] == [(_P, True), (_Q, False)]
    assert setup.log.index("q open vendor/m") == len(setup.log) - 3
    assert setup.log[-1] == "q closed"
    assert "p closed" not in setup.log[setup.log.index("q open vendor/m") :]
    assert setup.idle()


async def test_a_rejected_request_is_not_tried_elsewhere() -> None:
    setup = _Setup(FakeProvider(refusal=_REJECTED))
    with pytest.raises(UpstreamRejectedError):
        await setup.answer()
    assert setup.log == ["p open m"]
    assert setup.seen == [(_P, "UPSTREAM_REJECTED")]
    assert setup.ledger.state(_P).consecutive_failures == 0
    assert setup.idle()


async def test_after_the_first_chunk_it_does_not_fail_over() -> None:
    setup = _Setup(FakeProvider(says=[chunk(), _DOWN]))
    with pytest.raises(UpstreamUnavailableError):
        await setup.answer()
    assert setup.log == ["p open m", "p closed"]
    assert setup.seen == [(_P, None)]
    assert setup.ledger.state(_P).consecutive_failures == 1
    assert setup.idle()


async def test_the_last_targets_error_is_told_if_none_answers() -> None:
    late = UpstreamTimeoutError("late")
    setup = _Setup(FakeProvider(refusal=_DOWN), FakeProvider(refusal=late))
    with pytest.raises(UpstreamTimeoutError):
        await setup.answer()
    assert setup.idle()


async def test_who_cannot_be_asked_is_passed_over_and_not_blamed() -> None:
    unfit = UntranslatableError("not here", param="tools")
    assert (await _Setup(FakeProvider(refusal=unfit)).answer())[0] == _Q
    for first, second, told in (
        (_DOWN, unfit, UpstreamUnavailableError),
        (unfit, _DOWN, UpstreamUnavailableError),
        (unfit, unfit, InvalidRequestError),
    ):
        setup = _Setup(FakeProvider(refusal=first), FakeProvider(refusal=second))
        with pytest.raises(told):
            await setup.answer()
    assert setup.ledger.state(_P).consecutive_failures == 0


async def test_a_plan_without_targets_is_unavailable() -> None:
    with pytest.raises(UpstreamUnavailableError):
        await _Setup(FakeProvider()).answer(())


async def test_an_answer_ends_a_row_of_failures() -> None:
    setup = _Setup(FakeProvider(says=[chunk()]))
    setup.ledger.state(_P).consecutive_failures = 5
    await setup.answer()
    assert setup.ledger.state(_P).consecutive_failures == 0


async def test_a_fault_of_ours_is_not_failed_over() -> None:
    setup = _Setup(FakeProvider(refusal=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        await setup.answer()
    assert setup.log == ["p open m"]
    assert setup.idle()


async def test_leaving_early_closes_the_upstream_before_it_returns() -> None:
    setup = _Setup(FakeProvider(says=[chunk(), chunk(), None]))
    async with setup.dispatcher.open([_P], chat()) as answer:
        await anext(answer.rest)
        assert setup.ledger.state(_P).in_flight == 1
        setup.log.append("left")
    assert setup.log == ["p open m", "left", "p closed"]
    assert setup.idle()


@pytest.mark.parametrize("says", [[None], [chunk(), None]], ids=["before-first", "later"])
async def test_cancelling_closes_the_upstream(says: list[ChatChunk | None]) -> None:
    provider = FakeProvider(says=says)
    setup = _Setup(provider)
    task = asyncio.create_task(setup.answer())
    await provider.waiting.wait()
    assert setup.ledger.state(_P).in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setup.log == ["p open m", "p closed"]
    assert setup.idle()
    assert setup.ledger.state(_P).consecutive_failures == 0
