"""What is kept of each target's attempts."""

import pytest

from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger

_T = Target("p", "m")


def _attempt(ledger: Ledger, error: BaseException) -> None:
    with pytest.raises(type(error)), ledger.attempt(_T):
        raise error


def test_counts_attempts_in_flight() -> None:
    ledger = Ledger()
    with ledger.attempt(_T) as state, ledger.attempt(_T):
        assert state.in_flight == 2
    assert ledger.state(_T).in_flight == 0


@pytest.mark.parametrize("error", [UpstreamUnavailableError("x"), UpstreamTimeoutError("x")])
def test_failures_that_darken_are_counted(error: UpstreamError) -> None:
    ledger = Ledger()
    _attempt(ledger, error)
    _attempt(ledger, error)
    state = ledger.state(_T)
    assert (state.consecutive_failures, state.last_failure) == (2, error.reason.value)
    assert state.in_flight == 0


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejectedError("x", UpstreamReply(400, "", b""), provider="p"),
        UpstreamRateLimitedError("x"),
        RuntimeError("ours"),
        KeyboardInterrupt(),
    ],
)
def test_what_does_not_speak_against_the_target_is_not(error: BaseException) -> None:
    ledger = Ledger()
    _attempt(ledger, error)
    assert ledger.state(_T).consecutive_failures == 0
    assert ledger.state(_T).in_flight == 0


def test_a_target_is_known_by_provider_and_model() -> None:
    ledger = Ledger()
    ledger.state(_T).in_flight = 1
    assert ledger.state(Target("p", "m", weight=9)).in_flight == 1
    assert ledger.state(Target("q", "m")).in_flight == 0
    assert set(ledger.by_provider("p")) == {"m"}


def test_forgets_what_routing_no_longer_knows_unless_it_runs() -> None:
    ledger = Ledger()
    ledger.state(_T)
    with ledger.attempt(Target("p", "running")):
        ledger.state(Target("p", "idle"))
        ledger.forget_except({("p", "m")})
        assert set(ledger.by_provider("p")) == {"m", "running"}
    ledger.forget_except({("p", "m")})
    assert set(ledger.by_provider("p")) == {"m"}
