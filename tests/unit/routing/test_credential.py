"""A refused credential is the provider's: all of its targets, and nobody else's."""

from contextlib import ExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.routing.breaker import BreakerRules, BreakerState
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.seat import Seat
from tests.unit.doubles import FakeProvider, chat
from tests.unit.routing.clock import Clock

_RULES = BreakerRules()
_REFUSED = UpstreamMisconfiguredError("401")
_FORBIDDEN = UpstreamMisconfiguredError("403")
_FORBIDDEN.forbids = True
_REJECTED = UpstreamRejectedError("x", UpstreamReply(400, "", b""), provider="p")


class _Setup:
    """Targets `p/a`, `p/b`, `p/c` and `q/a`."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.ledger = Ledger(clock=self.clock)
        self.p = {name: self.ledger.seat(Target("p", name)) for name in "abc"}
        self.q = self.ledger.seat(Target("q", "a"))

    def facts(self) -> RequestFacts:
        return RequestFacts(chat(stream=True), self.clock.now)

    def answer(self, seat: Seat, *, last_resort: bool = False) -> None:
        with self.ledger.attempt(seat, self.facts(), last_resort=last_resort) as attempt:
            attempt.answered()

    def fail(self, seat: Seat, error: UpstreamError) -> None:
        with pytest.raises(type(error)), self.ledger.attempt(seat, self.facts()):
            raise error

    def blocked(self) -> dict[str, str]:
        return {
            name: seat.blocked_by(self.facts(), self.clock.now) for name, seat in self.p.items()
        }

    def all_dark(self) -> bool:
        return self.blocked() == dict.fromkeys("abc", "credential")

    def all_open(self) -> bool:
        return self.blocked() == dict.fromkeys("abc", "")


def test_one_refusal_darkens_every_target_of_the_provider_and_of_no_other() -> None:
    setup = _Setup()
    setup.answer(setup.p["b"])
    setup.fail(setup.p["a"], _REFUSED)
    assert setup.all_dark()
    assert setup.q.admits(setup.facts(), setup.clock.now)
    told = {(t.provider, t.model): t for t in setup.ledger.snapshot()}
    for name in "abc":
        figures = told["p", name]
        assert (figures.blocked_by, figures.breaker) == ("credential", BreakerState.OPEN)
        assert figures.ready_in_s == _RULES.credential_s
    assert told["q", "a"].breaker is BreakerState.CLOSED
    assert not any(seat.only_limited(setup.clock.now) for seat in setup.p.values())


def test_a_target_that_becomes_known_later_is_dark_too() -> None:
    setup = _Setup()
    setup.fail(setup.p["a"], _REFUSED)
    late = setup.ledger.seat(Target("p", "late"))
    assert late.blocked_by(setup.facts(), setup.clock.now) == "credential"
    assert not late.admits(setup.facts(), setup.clock.now)


def test_one_probe_at_a_time_whichever_target_and_its_success_frees_all() -> None:
    setup = _Setup()
    setup.fail(setup.p["a"], _REFUSED)
    setup.clock.now += _RULES.credential_s
    assert setup.all_open()
    with setup.ledger.attempt(setup.p["b"], setup.facts()) as probe:
        assert setup.blocked() == dict.fromkeys("abc", "probing")
        assert setup.ledger.snapshot()[0].breaker is BreakerState.HALF_OPEN
        probe.answered()
        assert setup.all_open()
    for seat in setup.p.values():
        setup.answer(seat)
    assert {t.breaker for t in setup.ledger.snapshot()} == {BreakerState.CLOSED}


def test_a_probe_that_is_refused_keeps_all_dark() -> None:
    setup = _Setup()
    setup.fail(setup.p["a"], _REFUSED)
    setup.clock.now += _RULES.credential_s
    setup.fail(setup.p["c"], _REFUSED)
    assert setup.all_dark()
    assert setup.p["b"].wait_s(setup.facts(), setup.clock.now) == _RULES.credential_s


@pytest.mark.parametrize(
    "error", [UpstreamUnavailableError("x"), UpstreamRateLimitedError("x"), _REJECTED]
)
def test_a_probe_that_tells_nothing_lets_the_next_try(error: UpstreamError) -> None:
    setup = _Setup()
    setup.fail(setup.p["a"], _REFUSED)
    setup.clock.now += _RULES.credential_s
    setup.fail(setup.p["b"], error)
    assert setup.p["c"].admits(setup.facts(), setup.clock.now)
    assert setup.p["c"].state.credential.refused


def test_a_success_frees_the_refused_target_at_once() -> None:
    setup = _Setup()
    setup.fail(setup.p["a"], _REFUSED)
    setup.clock.now += 1
    setup.answer(setup.p["b"], last_resort=True)
    assert setup.all_open()


def test_those_who_began_before_say_nothing(caplog: pytest.LogCaptureFixture) -> None:
    setup = _Setup()
    with ExitStack() as running:
        old = running.enter_context(setup.ledger.attempt(setup.p["b"], setup.facts()))
        setup.fail(setup.p["a"], _REFUSED)
        old.answered()
        assert setup.all_dark()
    assert len(caplog.records) == 1
    with pytest.raises(UpstreamMisconfiguredError), ExitStack() as running:
        setup.clock.now += _RULES.credential_s
        for name in "ab":
            # The second when the first has had patience enough.
            running.enter_context(setup.ledger.attempt(setup.p[name], setup.facts()))
            setup.clock.now += _RULES.patience_s
        setup.answer(setup.p["c"])
        raise _REFUSED
    # Both began before the success; `a` was itself the circuit's probe.
    assert setup.blocked() == {"a": "open", "b": "", "c": ""}


def test_it_is_said_once_for_each_change(caplog: pytest.LogCaptureFixture) -> None:
    setup = _Setup()
    for _ in range(3):
        for name in "abc":
            setup.fail(setup.p[name], _REFUSED)
            setup.clock.now += _RULES.credential_s
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("ERROR", "provider p refuses AILB's credential: none of its 3 targets is asked")
    ]
    setup.answer(setup.p["a"])
    setup.answer(setup.p["b"])
    assert [r.getMessage() for r in caplog.records][1:] == [
        "provider p: its credential is accepted again"
    ]


def test_what_is_forbidden_while_others_are_answered_is_that_targets_alone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    setup = _Setup()
    setup.answer(setup.p["b"])
    setup.fail(setup.p["a"], _FORBIDDEN)
    assert setup.blocked() == {"a": "credential", "b": "", "c": ""}
    setup.clock.now += _RULES.credential_s
    setup.answer(setup.p["a"])
    assert setup.all_open()
    assert [r.levelname for r in caplog.records] == ["ERROR", "WARNING"]
    assert all("target p/a" in r.getMessage() for r in caplog.records)


def test_what_is_forbidden_while_nobody_is_answered_is_the_providers() -> None:
    setup = _Setup()
    setup.answer(setup.p["b"])
    setup.clock.now += _RULES.credential_s + 1
    setup.fail(setup.p["a"], _FORBIDDEN)
    assert setup.all_dark()


def test_health_tells_it() -> None:
    setup = _Setup()
    declared = [Declaration(name, name, FakeProvider(name), ("a",)) for name in "pq"]
    catalogue = Catalogue(declared, setup.ledger)
    setup.fail(setup.p["a"], _REFUSED)
    assert [health.problem for health in catalogue.health()] == ["it refuses AILB's credential", ""]


def test_a_target_that_is_gone_is_forgotten() -> None:
    setup = _Setup()
    gone = setup.p["b"].state
    setup.ledger.forget_except({("p", "a"), ("q", "a")})
    setup.fail(setup.p["a"], _REFUSED)
    assert gone.ready_at == 0


_ENDS = {
    "refused": _REFUSED,
    "forbidden": _FORBIDDEN,
    "down": UpstreamUnavailableError("x"),
    "rejected": _REJECTED,
}


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["ok", *_ENDS]))))
def test_nobody_is_dark_for_ever(ends: list[tuple[str, str]]) -> None:
    setup = _Setup()
    for name, end in ends:
        seat = setup.p[name]
        wait = seat.wait_s(setup.facts(), setup.clock.now)
        assert wait <= max(_RULES.credential_s, _RULES.max_open_s)
        setup.clock.now += wait
        if end == "ok":
            setup.answer(seat)
            assert not seat.state.credential.refused
        else:
            setup.fail(seat, _ENDS[end])
        assert seat.state.credential.probe_until == 0
