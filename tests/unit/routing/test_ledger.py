"""What is kept of each target's attempts."""

import asyncio
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Price, Target
from ailb_server.routing.attempt import NotAdmittedError
from ailb_server.routing.breaker import BreakerState
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.limits import ProviderLimits
from ailb_server.routing.seat import Seat
from ailb_server.routing.state import DEFAULT_COOL_S
from tests.unit.doubles import chat
from tests.unit.routing.clock import Clock

_T = Target("p", "m", price=Price(prompt=1_000_000, completion=1_000_000))
_REJECTED = UpstreamRejectedError("x", UpstreamReply(400, "", b""), provider="p")


class _Setup:
    """A ledger in which time passes only when told."""

    def __init__(self, limits: ProviderLimits | None = None) -> None:
        self.clock = Clock()
        rules = LedgerRules(limits={"p": limits} if limits else None)
        self.ledger = Ledger(rules, clock=self.clock, wall=lambda: 1e9 - 1000 + self.clock.now)
        self.seat: Seat = self.ledger.seat(_T)
        self.state = self.seat.state

    def facts(self, *, stream: bool = True) -> RequestFacts:
        return RequestFacts(chat(stream=stream, max_tokens=10), self.clock.now)

    def answer(self, took_s: float = 1.0, first_s: float = 0.5, *, stream: bool = True) -> None:
        with self.ledger.attempt(self.seat, self.facts(stream=stream)) as attempt:
            self.clock.now += first_s
            attempt.answered()
            self.clock.now += took_s - first_s

    def fail(self, error: BaseException) -> None:
        with (
            pytest.raises(type(error)),
            self.ledger.attempt(self.seat, self.facts()),
        ):
            raise error


def test_counts_attempts_in_flight() -> None:
    setup = _Setup()
    with setup.ledger.attempt(setup.seat, setup.facts()):
        with setup.ledger.attempt(setup.seat, setup.facts()):
            assert setup.state.in_flight == 2
        assert len(setup.state.waiting[True]) == 1
    assert setup.state.in_flight == 0
    assert not setup.state.waiting[True]


@pytest.mark.parametrize("error", [UpstreamUnavailableError("x"), UpstreamTimeoutError("x")])
def test_failures_that_darken_are_counted(error: UpstreamError) -> None:
    setup = _Setup()
    setup.fail(error)
    setup.fail(error)
    (told,) = setup.ledger.snapshot()
    assert (told.consecutive_failures, told.failed) == (2, 2)
    assert (told.last_failure, told.last_failure_at) == (error.reason.value, 1e9)
    assert told.in_flight == 0


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (_REJECTED, "rejected"),
        (UpstreamRateLimitedError("x"), "failed"),
        (RuntimeError("ours"), "abandoned"),
        (KeyboardInterrupt(), "abandoned"),
    ],
)
def test_what_does_not_speak_against_the_target_is_not(error: BaseException, counted: str) -> None:
    setup = _Setup()
    setup.fail(error)
    (told,) = setup.ledger.snapshot()
    assert (told.consecutive_failures, told.in_flight) == (0, 0)
    assert getattr(told, counted) == 1
    assert told.breaker is BreakerState.CLOSED


@pytest.mark.parametrize("retry_after_s", [0.5, 7.25, 3600.0])
def test_a_rate_limit_cools_exactly_as_long_as_told(retry_after_s: float) -> None:
    setup = _Setup()
    setup.fail(UpstreamRateLimitedError("x", retry_after_s=retry_after_s))
    assert setup.ledger.snapshot()[0].blocked_by == "cooling"
    setup.clock.now += retry_after_s - 0.001
    with (
        pytest.raises(NotAdmittedError, match="cooling"),
        setup.ledger.attempt(setup.seat, setup.facts()),
    ):
        pass
    setup.clock.now += 0.001
    setup.answer()
    assert setup.ledger.snapshot()[0].blocked_by == ""


def test_a_rate_limit_that_names_no_time_cools_for_the_default() -> None:
    setup = _Setup()
    setup.fail(UpstreamRateLimitedError("x"))
    assert setup.seat.wait_s(setup.facts(), setup.clock.now) == DEFAULT_COOL_S


def test_another_target_of_the_provider_does_not_cool() -> None:
    setup = _Setup()
    other = setup.ledger.seat(Target("p", "other"))
    setup.fail(UpstreamRateLimitedError("x"))
    assert other.admits(setup.facts(), setup.clock.now)
    assert not setup.seat.admits(setup.facts(), setup.clock.now)


def test_a_refused_credential_is_dark_at_once_and_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = _Setup()
    refused = UpstreamMisconfiguredError("x")
    for _ in range(3):
        setup.fail(refused)
        assert setup.ledger.snapshot()[0].blocked_by == "credential"
        assert not setup.seat.admits(setup.facts(), setup.clock.now)
        setup.clock.now += setup.seat.wait_s(setup.facts(), setup.clock.now)
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    setup.answer()
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    setup.fail(refused)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "ERROR"]
    assert "p/m" not in caplog.text, "it is a matter of the provider"


def test_a_whole_answer_is_measured() -> None:
    setup = _Setup()
    for _ in range(10):
        setup.answer(took_s=2.0, first_s=0.25)
    (told,) = setup.ledger.snapshot()
    assert (told.total, told.successful, told.success_rate) == (10, 10, 1.0)
    assert told.avg_latency_s == pytest.approx(2.0)
    assert told.latency.p50 == pytest.approx(2.0, rel=0.2)
    assert told.latency.p99 == pytest.approx(2.0, rel=0.2)
    assert told.ttft_s == pytest.approx(0.25)
    assert told.ttft.p95 == pytest.approx(0.25, rel=0.2)
    assert told.last_success_at == 1e9 + 20


def test_an_unstreamed_answer_is_no_time_to_first_token() -> None:
    setup = _Setup()
    setup.answer(took_s=2.0, first_s=2.0, stream=False)
    (told,) = setup.ledger.snapshot()
    assert (told.ttft_s, told.ttft.p50) == (None, None)
    assert setup.state.first_chunk[False].value == 2.0


def test_tokens_and_cost_add_up() -> None:
    setup = _Setup()
    for _ in range(2):
        with setup.ledger.attempt(setup.seat, setup.facts()) as attempt:
            attempt.answered()
            attempt.used(TokenUsage(10, 4, 3, 2, 1))
    (told,) = setup.ledger.snapshot()
    assert (told.usage, told.cost_micro_dollars) == (TokenUsage(20, 8, 6, 4, 2), 28)


def test_only_whole_answers_tell_how_long_answers_are() -> None:
    setup = _Setup()
    with setup.ledger.attempt(setup.seat, setup.facts()) as attempt:
        attempt.used(TokenUsage(10, 400))
    attempt.used(TokenUsage(10, 1), whole=False)
    assert setup.state.completion.value == 400
    assert setup.state.totals.usage == TokenUsage(20, 401)


def test_a_wait_in_vain_is_the_least_that_an_answer_would_have_taken() -> None:
    setup = _Setup()

    def leave(after_s: float) -> None:
        with (
            pytest.raises(asyncio.CancelledError),
            setup.ledger.attempt(setup.seat, setup.facts()),
        ):
            setup.clock.now += after_s
            raise asyncio.CancelledError

    leave(9.0)
    assert setup.state.first_chunk[True].value is None, "it says nothing good of an unknown one"
    setup.answer(first_s=0.5)
    leave(0.1)
    assert setup.state.first_chunk[True].value == 0.5
    leave(3.0)
    assert setup.state.first_chunk[True].value == 3.0
    assert setup.state.first_chunk[False].value is None
    assert setup.state.consecutive_failures == 0


@pytest.mark.parametrize("error", [None, UpstreamUnavailableError("x"), _REJECTED])
def test_a_call_beside_chats_is_counted_and_says_nothing_of_them(error: Exception | None) -> None:
    setup = _Setup(ProviderLimits(max_concurrent=1, tokens_per_minute=10**6))
    setup.state.breaker.failures_in_row = 3
    with (
        contextlib.suppress(UpstreamError),
        setup.ledger.attempt(setup.seat, setup.facts(), beside=True),
    ):
        assert not setup.seat.admits(setup.facts(), setup.clock.now), "it takes a place"
        setup.clock.now += 5
        if error:
            raise error
    (told,) = setup.ledger.snapshot()
    assert (told.total, told.consecutive_failures, told.avg_latency_s) == (1, 3, None)
    assert told.successful + told.failed + told.rejected == 1
    assert setup.seat.gate is not None
    assert setup.seat.gate.wait_s(setup.clock.now, 10**6) == 0, "it took no tokens"


def test_a_credential_refused_beside_chats_is_refused() -> None:
    setup = _Setup()
    with (
        pytest.raises(UpstreamMisconfiguredError),
        setup.ledger.attempt(setup.seat, setup.facts(), beside=True),
    ):
        raise UpstreamMisconfiguredError("x")
    assert setup.ledger.snapshot()[0].blocked_by == "credential"


def test_who_has_not_got_the_model_has_failed_and_is_not_dark() -> None:
    setup = _Setup()
    for _ in range(30):
        setup.fail(UpstreamModelMissingError("x", UpstreamReply(404, "", b""), provider="p"))
    (told,) = setup.ledger.snapshot()
    assert (told.failed, told.rejected, told.blocked_by) == (30, 0, "")
    assert told.last_failure == "MODEL_NOT_FOUND"


def test_a_full_provider_takes_no_more_until_one_leaves() -> None:
    setup = _Setup(ProviderLimits(max_concurrent=1))
    with setup.ledger.attempt(setup.seat, setup.facts()):
        other = setup.ledger.seat(Target("p", "other"))
        with (
            pytest.raises(NotAdmittedError, match="full"),
            setup.ledger.attempt(other, setup.facts()),
        ):
            pass
    setup.answer()


def test_tokens_are_charged_before_and_corrected_after() -> None:
    setup = _Setup(ProviderLimits(tokens_per_minute=1000))
    expected = setup.seat.tokens(setup.facts())
    assert expected >= 10
    with setup.ledger.attempt(setup.seat, setup.facts()) as attempt:
        attempt.answered()
        attempt.used(TokenUsage(prompt=900, completion=90))
    assert not setup.seat.admits(setup.facts(), setup.clock.now)
    assert setup.seat.blocked_by(setup.facts(), setup.clock.now) == "full"
    setup.clock.now += 62
    assert setup.seat.admits(setup.facts(), setup.clock.now)


@given(st.lists(st.sampled_from(["ok", "fail", "limit", "reject", "bug"]), max_size=30))
def test_every_attempt_is_counted_once(ends: list[str]) -> None:
    setup = _Setup()
    errors: dict[str, BaseException] = {
        "fail": UpstreamUnavailableError("x"),
        "limit": UpstreamRateLimitedError("x", retry_after_s=1),
        "reject": _REJECTED,
        "bug": RuntimeError("x"),
    }
    for end in ends:
        setup.clock.now += setup.seat.wait_s(setup.facts(), setup.clock.now)
        if end == "ok":
            setup.answer()
        else:
            setup.fail(errors[end])
    (told,) = setup.ledger.snapshot()
    assert told.total == len(ends)
    assert told.successful + told.failed + told.rejected + told.abandoned == len(ends)
    assert told.in_flight == 0
    assert setup.state.breaker.probe_until == 0


def test_a_target_is_known_by_provider_and_model() -> None:
    ledger = Ledger()
    ledger.state(_T).in_flight = 1
    assert ledger.state(Target("p", "m", weight=9)).in_flight == 1
    assert ledger.state(Target("q", "m")).in_flight == 0
    assert set(ledger.by_provider("p")) == {"m"}


def test_forgets_what_routing_no_longer_knows_unless_it_runs() -> None:
    setup = _Setup()
    ledger, running = setup.ledger, setup.ledger.seat(Target("p", "running"))
    with ledger.attempt(running, setup.facts()):
        ledger.state(Target("p", "idle"))
        ledger.forget_except({("p", "m")})
        assert set(ledger.by_provider("p")) == {"m", "running"}
    ledger.forget_except({("p", "m")})
    assert set(ledger.by_provider("p")) == {"m"}
