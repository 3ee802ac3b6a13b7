"""Attempts in order until one answers; what was opened is closed, whichever way it ends."""

import asyncio
import logging

import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UntranslatableError,
    UpstreamContextLengthError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.routing.limits import ProviderLimits
from tests.unit.doubles import FakeProvider, chat, chunk
from tests.unit.routing.dispatching import P, Q, Setup, sized

_DOWN = UpstreamUnavailableError("down")
_REJECTED = UpstreamRejectedError("no", UpstreamReply(400, "", b""), provider="p")


async def test_the_first_target_answers() -> None:
    said = [chunk("1"), chunk("2"), chunk("3")]
    setup = Setup(FakeProvider(says=said))
    assert await setup.answer() == (P, said)
    assert setup.log == ["p open m", "read", "p closed"]
    assert setup.seen == [(P, None)]
    assert setup.idle()


async def test_a_rejected_request_is_not_tried_elsewhere() -> None:
    setup = Setup(FakeProvider(refusal=_REJECTED))
    for _ in range(30):
        with pytest.raises(UpstreamRejectedError):
            await setup.answer()
    assert set(setup.log) == {"p open m"}
    assert setup.seen[0] == (P, "UPSTREAM_REJECTED")
    assert setup.ledger.state(P).ready_at == 0, "a caller's fault never darkens"
    assert setup.idle()


async def test_after_the_first_chunk_it_does_not_fail_over() -> None:
    setup = Setup(FakeProvider(says=[chunk(), _DOWN]))
    with pytest.raises(UpstreamUnavailableError):
        await setup.answer()
    assert setup.log == ["p open m", "p closed"]
    assert setup.seen == [(P, None)]
    assert setup.ledger.state(P).consecutive_failures == 1
    assert setup.idle()


async def test_the_last_targets_error_is_told_if_none_answers() -> None:
    late = UpstreamTimeoutError("late")
    setup = Setup(FakeProvider(refusal=_DOWN), FakeProvider(refusal=late))
    with pytest.raises(UpstreamTimeoutError):
        await setup.answer()
    assert setup.outcome() == "upstream_timeout"
    assert setup.idle()


async def test_who_cannot_be_asked_is_passed_over_and_not_blamed() -> None:
    unfit = UntranslatableError("not here", param="tools")
    assert (await Setup(FakeProvider(refusal=unfit), FakeProvider(says=[chunk()])).answer())[0] == Q
    for first, second, told in (
        (_DOWN, unfit, UpstreamUnavailableError),
        (unfit, _DOWN, UpstreamUnavailableError),
        (unfit, unfit, InvalidRequestError),
    ):
        setup = Setup(FakeProvider(refusal=first), FakeProvider(refusal=second))
        with pytest.raises(told):
            await setup.answer()


def _too_long(setup: str = "p") -> UpstreamContextLengthError:
    return UpstreamContextLengthError("too long", UpstreamReply(400, "", b"{}"), provider=setup)


@pytest.mark.parametrize(
    ("first", "second", "moves"),
    [
        (1000, 2000, True),
        (1000, 1000, False),
        (2000, 1000, False),
        (1000, None, True),
        (None, None, False),
        (None, 1000, True),
    ],
)
async def test_a_prompt_too_long_for_one_goes_only_to_a_larger(
    first: int | None, second: int | None, *, moves: bool
) -> None:
    provider = FakeProvider(refusal=_too_long())
    setup = sized(first, second)(provider, FakeProvider(says=[chunk("q")]))
    for _ in range(10):
        if moves:
            assert (await setup.answer())[0].provider == "q"
        else:
            with pytest.raises(UpstreamContextLengthError, match="too long"):
                await setup.answer()
    assert setup.log.count("p open m") == 10, "it is asked again by the next request"
    assert ("q open vendor/m" in setup.log) is moves
    state = setup.ledger.state(P)
    assert (state.ready_at, state.consecutive_failures, state.totals.rejected) == (0, 0, 10)
    assert setup.idle()


async def test_a_prompt_too_long_for_all_is_told_by_the_last_asked() -> None:
    first, second = _too_long("p"), _too_long("q")
    setup = sized(500, 1000)(FakeProvider(refusal=first), FakeProvider(refusal=second))
    with pytest.raises(UpstreamContextLengthError) as raised:
        await setup.answer()
    assert raised.value is second
    assert raised.value.retry_after_s is None
    assert setup.outcome() == "context_length_exceeded"


async def test_the_larger_targets_failure_tells_more_than_that_another_is_too_small() -> None:
    setup = sized(500, 1000)(FakeProvider(refusal=_too_long()), FakeProvider(refusal=_DOWN))
    with pytest.raises(UpstreamUnavailableError):
        await setup.answer()


@pytest.mark.parametrize("refusal", [UntranslatableError("no"), _too_long()])
async def test_what_one_cannot_take_waits_for_another_that_is_limited(refusal: Exception) -> None:
    limited = UpstreamRateLimitedError("slow down", retry_after_s=0.2)
    first = FakeProvider(refusal=refusal)
    second = FakeProvider(says=[chunk("q")], refusals=[limited])
    setup = sized(500, 1000)(first, second)
    assert (await setup.answer())[0].provider == "q"
    assert setup.log.count("p open m") == 1, "who cannot take it is not asked again"
    assert setup.log.count("q open vendor/m") == 2


async def test_a_target_that_was_never_asked_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    unfit = UntranslatableError("not here", param="tools")
    limits = {"p": ProviderLimits(requests_per_minute=1)}
    setup = Setup(FakeProvider(refusal=unfit), limits=limits)
    for _ in range(2):
        await setup.answer()
    assert setup.log.count("p open m") == 2, "its limit is not touched"
    setup.seen.pop()
    totals = setup.ledger.state(P).totals
    assert (totals.attempts, totals.failed, totals.rejected) == (0, 0, 0)
    assert totals.last_failure == ""
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert setup.seen == [(Q, None)]


def _missing(provider: str = "p") -> UpstreamModelMissingError:
    reply = UpstreamReply(404, "application/json", b'{"error":{}}')
    return UpstreamModelMissingError("pull it first", reply, provider=provider)


async def test_a_model_that_its_provider_has_not_got_is_asked_of_the_next() -> None:
    setup = Setup(FakeProvider(refusal=_missing()))
    assert (await setup.answer())[0] == Q
    assert setup.seen == [(P, "MODEL_NOT_FOUND"), (Q, None)]
    with pytest.raises(UpstreamModelMissingError, match="pull it first") as raised:
        await setup.answer("alone")
    assert raised.value.reply.status == 404
    assert raised.value.retry_after_s is None


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        (_missing(), _DOWN, UpstreamUnavailableError),
        (_DOWN, _missing("q"), UpstreamUnavailableError),
        (_missing(), UntranslatableError("no"), UpstreamModelMissingError),
        (_missing(), UpstreamRateLimitedError("x", retry_after_s=60), UpstreamRateLimitedError),
    ],
)
async def test_a_missing_model_tells_less_than_a_failure(
    first: Exception, second: Exception, told: type[Exception]
) -> None:
    setup = Setup(FakeProvider(refusal=first), FakeProvider(refusal=second))
    with pytest.raises(told):
        await setup.answer()
    assert setup.log == ["p open m", "q open vendor/m"]


async def test_an_answer_ends_a_row_of_failures() -> None:
    setup = Setup(FakeProvider(says=[chunk()]))
    setup.ledger.state(P).breaker.failures_in_row = 4
    await setup.answer()
    assert setup.ledger.state(P).consecutive_failures == 0


async def test_a_fault_of_ours_is_not_failed_over() -> None:
    setup = Setup(FakeProvider(refusal=RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        await setup.answer()
    assert setup.log == ["p open m"]
    assert setup.idle()


async def test_what_an_answer_took_is_told_to_its_target() -> None:
    setup = Setup(FakeProvider(says=[chunk()]))
    async with setup.open() as answer:
        answer.used(TokenUsage(prompt=3, completion=2))
    totals = setup.ledger.state(P).totals
    assert (totals.usage, totals.cost_micro_dollars) == (TokenUsage(3, 2), 0)
    assert not setup.ledger.state(Q).totals.attempts


async def test_a_decision_tells_its_reasons() -> None:
    setup = Setup(FakeProvider(refusal=_DOWN))
    await setup.answer()
    (decision,) = setup.router.decisions.snapshot()
    assert (decision.model, decision.strategy, decision.outcome) == ("m", "failover", "answered")
    assert list(decision.order) == [P, Q]
    assert [(t.target, t.outcome) for t in decision.tried] == [
        (P, "upstream_unavailable"),
        (Q, "answered"),
    ]


async def test_leaving_early_closes_the_upstream_before_it_returns() -> None:
    setup = Setup(FakeProvider(says=[chunk(), chunk(), None]))
    async with setup.open() as answer:
        await anext(answer.rest)
        assert setup.ledger.state(P).in_flight == 1
        setup.log.append("left")
    assert setup.log == ["p open m", "left", "p closed"]
    assert setup.idle()


@pytest.mark.parametrize("says", [[None], [chunk(), None]], ids=["before-first", "later"])
@pytest.mark.parametrize("hedge_after_s", [None, 60.0])
async def test_cancelling_closes_the_upstream(
    says: list[ChatChunk | None], hedge_after_s: float | None
) -> None:
    provider = FakeProvider(says=says)
    setup = Setup(provider, hedge_after_s=hedge_after_s)
    task = asyncio.create_task(setup.answer())
    await provider.waiting.wait()
    assert setup.ledger.state(P).in_flight == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert setup.log == ["p open m", "p closed"]
    assert setup.idle()
    assert setup.ledger.state(P).consecutive_failures == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_an_old_connection_that_was_closed_is_not_held_against_anyone() -> None:
    stale = UpstreamUnavailableError("closed")
    stale.resendable = True
    provider = FakeProvider(says=[chunk()], refusals=[stale])
    setup = Setup(provider, FakeProvider(refusal=_DOWN))
    assert (await setup.answer())[0] == P
    assert setup.log == ["p open m", "p open m", "read", "p closed"]
    assert setup.ledger.state(P).totals.failed == 0
    assert setup.idle()


async def test_it_is_resent_once_only() -> None:
    stale = UpstreamUnavailableError("closed")
    stale.resendable = True
    setup = Setup(FakeProvider(refusal=stale))
    assert (await setup.answer())[0] == Q
    assert setup.log[:3] == ["p open m", "p open m", "q open vendor/m"]


async def test_nothing_else_is_resent() -> None:
    setup = Setup(FakeProvider(refusal=_DOWN))
    await setup.answer()
    assert setup.log[:2] == ["p open m", "q open vendor/m"]


async def test_an_asked_chat_names_the_model_as_each_target_does() -> None:
    setup = Setup(FakeProvider(refusal=_DOWN))
    async with setup.dispatcher.open(setup.router.plan(chat()), chat()) as answer:
        assert answer.target == Q


async def test_a_failed_attempt_leaves_a_line_without_its_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    private = UpstreamUnavailableError("it said: my secret prompt")
    with caplog.at_level(logging.INFO):
        await Setup(FakeProvider(refusal=private)).answer()
    line, choice = [record.getMessage() for record in caplog.records]
    assert choice == "m: q/vendor/m answers, after p/m (upstream_unavailable)"
    assert line.startswith("p/m did not answer after ")
    assert line.endswith(": UPSTREAM_UNAVAILABLE")
