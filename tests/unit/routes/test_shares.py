"""Versions within a route: their shares, and who stays where."""

import math
from dataclasses import replace
from typing import Any

import pytest

from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.principal import Principal
from ailb_server.domain.rollout import Weights
from ailb_server.domain.target import Capabilities, Target
from ailb_server.routing.router import Router
from tests.unit.doubles import chat
from tests.unit.routes.routing import Call, ask, order, route, router, sessions, shares

BLUE, GREEN = "openai/gpt-4o", "local/llama"
COUNT = 2000


def _at(found: Router, *weights: tuple[str, int]) -> None:
    """Puts other weights in force."""
    (known,) = found.catalogue._model_routes
    changed: Weights = weights
    found.catalogue.set_routes([replace(known, rollout=replace(known.rollout, weights=changed))])


def _canary(percent: int, **more: object) -> Router:
    group = f"blue:{100 - percent}={BLUE},green:{percent}={GREEN}"
    return router(route("r", "smart", group, **more))


@pytest.mark.parametrize("percent", [1, 10, 50, 90])
def test_sessions_are_shared_as_the_weights_say(percent: int) -> None:
    found = shares(sessions(_canary(percent), COUNT))[GREEN]
    expected, deviation = COUNT * percent / 100, math.sqrt(COUNT * percent * (100 - percent)) / 100
    assert abs(found - expected) < 4 * deviation


def test_without_a_session_or_a_key_chance_decides() -> None:
    router = _canary(10)
    found = shares([ask(router)[0] for _ in range(COUNT)])[GREEN]
    assert abs(found - 200) < 4 * math.sqrt(COUNT * 0.1 * 0.9)


def test_a_session_stays_while_the_weights_do() -> None:
    found, other = _canary(30), _canary(30)
    first = sessions(found, 300)
    assert sessions(found, 300) == first
    assert sessions(other, 300) == first, "every instance says the same"


def test_a_rising_weight_takes_only_what_it_needs_and_gives_nothing_back() -> None:
    found = _canary(0)
    before = sessions(found, COUNT)
    for percent in (5, 10, 40, 80, 100):
        _at(found, ("blue", 100 - percent), ("green", percent))
        now = sessions(found, COUNT)
        assert all(b != GREEN or n == GREEN for b, n in zip(before, now, strict=True))
        before = now
    assert set(before) == {GREEN}


def test_of_three_versions_a_rising_one_takes_from_both_others_alone() -> None:
    group = f"blue:60={BLUE},green:30={GREEN},red:10=openai/gpt-4o-mini"
    found = router(route("r", "smart", group))
    before = sessions(found, COUNT)
    _at(found, ("blue", 50), ("green", 25), ("red", 25))
    moved = {(b, n) for b, n in zip(before, sessions(found, COUNT), strict=True) if b != n}
    assert moved == {(BLUE, "openai/gpt-4o-mini"), (GREEN, "openai/gpt-4o-mini")}


def test_what_a_request_sticks_to() -> None:
    one, other = Principal(key_id=1), Principal(key_id=2, tenant_id=2)

    def first(found: Router, call: Call, **fields: Any) -> str:
        return order(found.plan(chat("smart", **fields), None, call))[0]

    found = _canary(50)
    for call, fields in (
        (Call(who=one), {}),
        (Call(who=one), {"user": "u"}),
        (Call(who=one, session_id="s"), {"user": "x"}),
    ):
        assert len({first(found, call, **fields) for _ in range(30)}) == 1
    users = {first(found, Call(who=one), user=f"u{n}") for n in range(30)}
    assert users == {BLUE, GREEN}
    tenants = [
        [first(found, Call(who=who, session_id=f"s{n}")) for n in range(60)] for who in (one, other)
    ]
    assert tenants[0] != tenants[1], "a session of another tenant is another one"
    assert {first(found, Call()) for _ in range(40)} == {BLUE, GREEN}
    for sticky, call, fields in (
        ("session", Call(who=one), {"user": "u"}),
        ("user", Call(who=one), {}),
        ("none", Call(who=one, session_id="s"), {}),
    ):
        loose = _canary(50, metadata={"ailb.sticky": sticky})
        assert {first(loose, call, **fields) for _ in range(40)} == {BLUE, GREEN}


def test_the_session_in_the_body_counts_before_the_headers() -> None:
    found = _canary(50)
    asked = replace(chat("smart", session_id="a"), own_fields=frozenset({"session_id"}))
    alone = order(found.plan(asked, None, Call()))
    with_header = [order(found.plan(asked, None, Call(session_id=f"h{n}"))) for n in range(30)]
    assert all(plan == alone for plan in with_header)


def test_another_version_is_the_last_resort() -> None:
    found = _canary(50)
    call = next(c for n in range(99) if ask(found, call=(c := Call(session_id=f"s{n}")))[0] == BLUE)
    assert ask(found, call=call) == [BLUE, GREEN]
    state = found.ledger.state(Target("openai", "gpt-4o"))
    state.cool_until = state.ready_at = 2000.0
    plan = found.plan(chat("smart"), None, call)
    assert order(plan) == [GREEN]
    assert [seat.target.model for seat in plan.skipped] == ["gpt-4o"]
    state.cool_until = state.ready_at = 0.0
    assert ask(found, call=call) == [BLUE, GREEN], "and it is back where it was"
    strict = _canary(50, metadata={"ailb.fallback": "none"})
    assert ask(strict, call=call) == [BLUE]


def test_who_has_no_share_is_no_resort_either() -> None:
    assert ask(_canary(0)) == [BLUE]
    assert ask(_canary(100)) == [GREEN]


def test_a_version_that_cannot_do_what_is_asked_leaves_it_to_another() -> None:
    group = f"blue:1={BLUE},green:99={GREEN}"
    found = router(route("r", "smart", group), capabilities=Capabilities(tools=False))
    asked = chat("smart", tools=[{"type": "function", "function": {"name": "f"}}])
    for n in range(20):
        plan = found.plan(asked, None, Call(session_id=f"s{n}"))
        assert order(plan) == [BLUE]
        assert plan.decision.route == "r/blue"
    alone = router(route("r", "smart", GREEN), capabilities=Capabilities(tools=False))
    with pytest.raises(InvalidRequestError):
        alone.plan(asked, None, Call())


def test_a_slow_target_loses_no_session_to_another_version_by_hedging() -> None:
    found = _canary(50)
    found.defaults = replace(found.defaults, hedge_after_s=0.5)
    assert found.plan(chat("smart"), None, Call()).hedge_after_s is None
    group = f"blue:50={BLUE}|openai/gpt-4o-mini,green:50=local/llama|local/gpt-4o"
    wide = router(route("r", "smart", group))
    wide.defaults = replace(wide.defaults, hedge_after_s=0.5)
    assert wide.plan(chat("smart"), None, Call()).hedge_after_s == 0.5
