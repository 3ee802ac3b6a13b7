"""The circuit breaker as a state machine."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ailb_server.routing.breaker import Breaker, BreakerRules, BreakerState, Ticket

_RULES = BreakerRules()


def _failed(breaker: Breaker, times: int, now: float = 0.0) -> None:
    for _ in range(times):
        breaker.failed(breaker.begin(now), now)


def test_opens_after_failures_in_a_row_and_not_before() -> None:
    breaker = Breaker(_RULES)
    _failed(breaker, _RULES.in_row - 1)
    assert breaker.state(0) is BreakerState.CLOSED
    breaker.succeeded(breaker.begin(0), 0)
    _failed(breaker, _RULES.in_row - 1)
    assert breaker.state(0) is BreakerState.CLOSED
    _failed(breaker, 1)
    assert breaker.state(0) is BreakerState.OPEN


def test_opens_when_half_fail_though_never_in_a_row() -> None:
    breaker = Breaker(_RULES)
    for _ in range(_RULES.min_attempts // 2):
        assert breaker.state(0) is BreakerState.CLOSED
        breaker.succeeded(breaker.begin(0), 0)
        _failed(breaker, 1)
    assert breaker.state(0) is BreakerState.OPEN


def test_failures_of_long_ago_do_not_count() -> None:
    breaker, now = Breaker(_RULES), 0.0
    for _ in range(100):
        now += _RULES.window_s / 5
        breaker.succeeded(breaker.begin(now), now)
        _failed(breaker, 1, now)
    assert breaker.state(now) is BreakerState.CLOSED


def test_every_opening_without_a_success_lasts_longer() -> None:
    breaker, now, lasted = Breaker(_RULES), 0.0, list[float]()
    _failed(breaker, _RULES.in_row)
    for _ in range(6):
        lasted.append(breaker.open_until - now)
        now = breaker.open_until
        assert breaker.state(now) is BreakerState.HALF_OPEN
        _failed(breaker, 1, now)
    assert lasted == [5, 10, 20, 40, 60, 60]
    now = breaker.open_until
    breaker.succeeded(breaker.begin(now), now)
    assert breaker.state(now) is BreakerState.CLOSED
    _failed(breaker, _RULES.in_row, now)
    assert breaker.open_until - now == 5


def test_a_credential_opens_at_once() -> None:
    breaker = Breaker(_RULES)
    breaker.failed(breaker.begin(0), 0, credential=True)
    assert breaker.open_until == _RULES.credential_s


def test_those_who_began_before_the_opening_do_not_close_or_prolong_it() -> None:
    breaker = Breaker(_RULES)
    old = [breaker.begin(0) for _ in range(100)]
    for ticket in old[:50]:
        breaker.failed(ticket, 1)
    assert breaker.open_until == 6
    breaker.succeeded(old[50], 2)
    assert breaker.state(2) is BreakerState.OPEN
    probe = breaker.begin(6)
    breaker.answered(probe)
    for ticket in old[51:]:
        breaker.failed(ticket, 7)
    assert breaker.state(7) is BreakerState.CLOSED


def test_a_probe_that_breaks_off_later_opens_again() -> None:
    breaker = Breaker(_RULES)
    _failed(breaker, _RULES.in_row)
    probe = breaker.begin(5)
    breaker.answered(probe)
    assert breaker.state(5) is BreakerState.CLOSED
    breaker.failed(probe, 6)
    assert breaker.open_until == 6 + 10


@pytest.mark.parametrize("told", [True, False])
def test_a_probe_keeps_others_away_until_it_is_over_or_too_long(*, told: bool) -> None:
    breaker = Breaker(_RULES)
    _failed(breaker, _RULES.in_row)
    probe = breaker.begin(5)
    assert breaker.probe_until == 5 + _RULES.patience_s
    if told:
        breaker.abandoned(probe)
        assert breaker.probe_until == 0
    assert breaker.state(5 + _RULES.patience_s) is BreakerState.HALF_OPEN


class BreakerMachine(RuleBasedStateMachine):
    """Attempts begin when the breaker admits them, and end in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.breaker = Breaker(_RULES)
        self.running: list[Ticket] = []

    def admits(self) -> bool:
        return self.breaker.open_until <= self.now and self.breaker.probe_until <= self.now

    @precondition(lambda self: self.admits())
    @rule()
    def begin(self) -> None:
        self.running.append(self.breaker.begin(self.now))

    @precondition(lambda self: self.running)
    @rule(which=st.integers(0, 100), how=st.sampled_from(["ok", "fail", "leave", "401"]))
    def end(self, which: int, how: str) -> None:
        ticket = self.running.pop(which % len(self.running))
        if how == "ok":
            self.breaker.answered(ticket)
            self.breaker.succeeded(ticket, self.now)
        elif how == "leave":
            self.breaker.abandoned(ticket)
        else:
            self.breaker.failed(ticket, self.now, credential=how == "401")

    @rule(seconds=st.floats(0, 90))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def nobody_waits_for_ever(self) -> None:
        assert self.breaker.open_until <= self.now + _RULES.max_open_s
        assert self.breaker.probe_until <= self.now + _RULES.patience_s

    @invariant()
    def what_is_open_admits_nobody(self) -> None:
        if self.breaker.state(self.now) is BreakerState.OPEN:
            assert not self.admits()

    @invariant()
    def only_a_probe_that_runs_keeps_others_away(self) -> None:
        if self.breaker.probe_until > self.now:
            assert any(ticket.probe for ticket in self.running)


TestBreakerMachine = BreakerMachine.TestCase
TestBreakerMachine.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
