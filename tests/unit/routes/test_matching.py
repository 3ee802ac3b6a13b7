"""Which requests a route takes, and whom it sends them to."""

from dataclasses import replace

import pytest

from ailb_server.domain.chat import Operation
from ailb_server.domain.errors import ModelNotFoundError, UpstreamUnavailableError
from ailb_server.domain.principal import Principal
from ailb_server.domain.route import Face
from ailb_server.domain.target import Target
from ailb_server.routing import route_index
from tests.unit.doubles import chat
from tests.unit.routes.routing import Call, ask, names, order, route, router


def test_without_routes_nothing_is_looked_at() -> None:
    found = router()
    assert found.catalogue.routes is None
    assert ask(found, "gpt-4o") == ["openai/gpt-4o", "local/gpt-4o"]


def test_a_name_of_its_own_stands_for_its_group_in_order() -> None:
    found = router(route(group="local/llama|gpt-4o-mini|best"))
    assert ask(found) == ["local/llama", "openai/gpt-4o-mini", "openai/gpt-4o"]
    with pytest.raises(ModelNotFoundError):
        ask(found, "smarter")


def test_an_exact_name_comes_before_patterns_and_those_by_priority() -> None:
    found = router(
        route("exact", "gpt-4o", "local/llama", priority=-5),
        route("low", "gpt-*", "openai/gpt-4o-mini", priority=1),
        route("high", "gpt-4?*", "openai/gpt-4o", priority=2),
        route("all", "*", "local/gpt-4o", priority=0),
    )
    asked = [ask(found, m) for m in ("gpt-4o", "gpt-4o-mini", "gpt-3", "what/ever", "best")]
    assert asked == [
        ["local/llama"],
        ["openai/gpt-4o"],
        ["openai/gpt-4o-mini"],
        ["local/gpt-4o"],
        ["local/gpt-4o"],
    ]


def test_of_equals_the_first_id_is_taken() -> None:
    found = router(route("b", "gpt-*", "openai/gpt-4o"), route("a", "*-4o", "local/llama"))
    assert ask(found, "gpt-4o") == ["local/llama"]


def test_a_member_names_a_model_not_a_route() -> None:
    found = router(route("r", "gpt-4o", "gpt-4o"), route("s", "llama", "best"))
    assert ask(found, "gpt-4o") == ["openai/gpt-4o", "local/gpt-4o"]
    assert found.plan(chat("llama"), None, Call()).decision.strategy == "round_robin"


def test_a_group_has_its_own_strategy_and_the_decision_tells_the_route() -> None:
    found = router(route(group="best", metadata={"ailb.strategy": "cost_optimized"}))
    decision = found.plan(chat("smart"), None, Call()).decision
    assert (decision.strategy, decision.route) == ("cost_optimized", "r/default")
    assert found.plan(chat("smart"), "random", Call()).decision.strategy == "random"


@pytest.mark.parametrize(
    ("conditions", "rest", "streamed", "typed"),
    [
        ({"protocol": "HTTP"}, True, False, False),
        ({"protocol": "GRPC"}, False, True, True),
        ({"path_pattern": "/v1/chat/completions"}, True, False, False),
        ({"path_pattern": "/v1/*"}, True, False, False),
        ({"path_pattern": "/ailb.v1.ChatService/Stream*"}, False, True, False),
        ({"path_pattern": "/v1/embeddings"}, False, False, False),
        ({"path_pattern": "*", "protocol": "HTTP2"}, True, False, False),
    ],
)
def test_a_route_takes_requests_by_face_and_path(
    conditions: dict[str, object], *, rest: bool, streamed: bool, typed: bool
) -> None:
    found = router(route("r", "llama", "openai/gpt-4o", **conditions))
    grpc = Call(Face.GRPC)
    asked = [
        found.plan(chat("llama"), None, Call()),
        found.plan(chat("llama", stream=True), None, grpc),
        found.plan(chat("llama"), None, grpc),
    ]
    assert [order(plan) == ["openai/gpt-4o"] for plan in asked] == [rest, streamed, typed]


def test_the_paths_of_other_operations() -> None:
    found = router(
        route("e", "llama", "openai/gpt-4o", path_pattern="/v1/embeddings"),
        route("m", "llama", "openai/gpt-4o-mini", path_pattern="/v1/messages"),
    )
    embedding = replace(chat("llama"), operation=Operation.EMBEDDING)
    messages = replace(chat("llama"), wire="anthropic")
    assert order(found.plan(embedding, None, Call())) == ["openai/gpt-4o"]
    assert order(found.plan(messages, None, Call())) == ["openai/gpt-4o-mini"]
    assert ask(found, "llama") == ["local/llama"]


def test_headers_must_be_there_as_they_are() -> None:
    found = router(
        route("r", "llama", "openai/gpt-4o", headers=(("x-tier", "gold"), ("x-team", "a")))
    )

    def asked(*headers: tuple[str, str]) -> str:
        return ask(found, "llama", Call(metadata=headers))[0]

    assert asked(("x-tier", "gold"), ("x-team", "a")) == "openai/gpt-4o"
    assert asked(("x-tier", "gold")) == "local/llama"
    assert asked(("x-tier", "Gold"), ("x-team", "a")) == "local/llama"


def test_what_ailb_asks_for_itself_no_route_takes() -> None:
    found = router(route("r", "*", "openai/gpt-4o"))
    assert order(found.plan(chat("llama"), None, Call(face=None))) == ["local/llama"]
    assert order(found.plan(chat("llama"))) == ["local/llama"]


def test_a_key_gets_no_model_by_a_route_that_it_may_not_use() -> None:
    found = router(
        route("r", "llama", "openai/gpt-4o"),
        route("same", "gpt-4o", "local/gpt-4o"),
        route("new", "smart", "openai/gpt-4o"),
        route("many", "gpt-4o-*", "blue:50=openai/gpt-4o,green:50=local/llama"),
    )

    def by(model: str, *allowed: str) -> list[str]:
        return ask(found, model, Call(who=Principal(allowed_models=allowed)))

    assert by("llama", "llama") == ["local/llama"], "it was made for that model"
    assert by("llama", "llama", "openai/*") == ["openai/gpt-4o"]
    assert by("llama", "*") == ["openai/gpt-4o"]
    assert by("gpt-4o", "gpt-4o") == ["local/gpt-4o"], "the same model at another provider"
    assert by("smart", "smart") == ["openai/gpt-4o"], "the name exists by the route alone"
    for _ in range(20):
        assert by("gpt-4o-mini", "gpt-4o-mini", "llama") == ["local/llama"]
        assert by("gpt-4o-mini", "gpt-4o-mini") == ["openai/gpt-4o-mini"]
    assert ask(found, "llama") == ["openai/gpt-4o"], "of no other key's answer"


def test_what_a_route_takes_goes_nowhere_else_though_its_targets_are_gone() -> None:
    found = router(route("r", "gpt-4o", "gone"))
    with pytest.raises(UpstreamUnavailableError):
        ask(found, "gpt-4o")
    restricted = Call(who=Principal(allowed_models=("gpt-4o",)))
    assert ask(found, "gpt-4o", restricted) == ["openai/gpt-4o", "local/gpt-4o"]


def test_prices_and_lists_know_the_routes() -> None:
    catalogue = router(
        route("r", "llama", "blue:90=openai/gpt-4o,green:10=best"),
        route("s", "smart", "local/llama"),
        route("p", "claude-*", "local/llama"),
    ).catalogue
    assert names(catalogue.candidates("llama")) == ["local/llama", "openai/gpt-4o"]
    assert names(catalogue.candidates("claude-x")) == ["local/llama"]
    assert catalogue.candidates("nothing") == ()
    listed = [model.id for model in catalogue.listed()]
    assert listed == ["gpt-4o", "gpt-4o-mini", "llama", "best", "smart"]
    assert catalogue.described("smart").owned_by == "ailb"
    assert catalogue.described("claude-x").targets == (catalogue.candidates("llama")[0],)
    assert (catalogue.route_of("smart"), catalogue.route_of("gpt-4o")) == ("s", None)
    with pytest.raises(ModelNotFoundError):
        catalogue.described("nothing")


def test_a_limit_is_of_the_route_that_takes_the_request() -> None:
    canary = (("x-canary", "1"),)
    catalogue = router(route("r", "llama", "openai/gpt-4o", headers=canary)).catalogue
    assert catalogue.route_taking(chat("llama"), Call(metadata=canary)) == "r"
    assert catalogue.route_taking(chat("llama"), Call()) is None
    assert catalogue.route_taking(chat("gpt-4o"), Call(metadata=canary)) is None
    assert catalogue.route_taking(chat("llama"), None) == "r"
    assert router().catalogue.route_taking(chat("llama"), None) is None


def test_what_an_answer_hangs_on() -> None:
    found = router(route("r", "smart", "blue:50=best,green:50=local/gpt-4o"), route("s", "x", "no"))
    for n in range(20):
        call = Call(session_id=f"s{n}")
        (first, *_) = ask(found, call=call)
        told = found.destinations(chat("smart"), call)
        assert told == (
            ["local/gpt-4o"] if first == "local/gpt-4o" else ["openai/gpt-4o", "local/llama"]
        )
    assert found.destinations(chat("llama"), Call()) == ["local/llama"]
    assert found.destinations(chat("x"), Call()) == ()
    assert found.destinations(chat("nobody"), Call()) == ()
    catalogue = found.catalogue
    assert names(catalogue.targets_of(chat("smart"), Call())) == [
        "openai/gpt-4o",
        "local/llama",
        "local/gpt-4o",
    ]
    assert names(catalogue.targets_of(chat("llama"), Call())) == ["local/llama"]


def test_what_was_found_is_kept_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(route_index, "MAX_CACHED", 10)
    found = router(route("r", "x*", "llama"))
    for n in range(100):
        assert ask(found, f"x{n}") == ["local/llama"]
    index = found.catalogue.routes
    assert index is not None
    assert len(index._cache) <= 10


async def test_routes_follow_the_table_of_models() -> None:
    found = router(route("r", "smart", "openai/gpt-4o"))
    assert ask(found) == ["openai/gpt-4o"]
    seat = found.plan(chat("smart"), None, Call()).order[0]
    await found.catalogue.refresh()
    assert found.plan(chat("smart"), None, Call()).order[0] is seat
    assert seat.state is found.ledger.state(Target("openai", "gpt-4o"))
