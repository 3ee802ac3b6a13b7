"""Which seats a request gets: by name, ability, wish and state."""

import orjson
import pytest

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    ContextLengthExceededError,
    InvalidRequestError,
    ModelNotFoundError,
)
from ailb_server.domain.target import Capabilities, Target
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.decisions import MAX_DECISIONS
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.router import STRATEGY_PARAM, Plan, Router, RouterDefaults
from ailb_server.routing.strategies import STRATEGIES
from ailb_server.routing.table import Alias
from tests.unit.doubles import FakeProvider, chat
from tests.unit.routing.clock import Clock

_IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
_TOOLS = [{"type": "function", "function": {"name": "f"}}]
_SCHEMA = {"type": "json_schema", "json_schema": {"name": "s", "schema": {}}}


def _router(*capabilities: Capabilities | None, aliases: dict[str, Alias] | None = None) -> Router:
    """The model `m` at p0, p1, …, in declared order."""
    ledger = Ledger(clock=Clock())
    declared = [
        Declaration(
            f"p{index}",
            "o",
            FakeProvider(),
            ("m",),
            capabilities={"m": able} if able else None,
        )
        for index, able in enumerate(capabilities)
    ]
    return Router(Catalogue(declared, ledger, aliases), ledger, RouterDefaults("failover"))


def _asked(content: object = "hi", **fields: object) -> ChatRequest:
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    return ChatRequest("m", stream=False, include_usage=False, body=orjson.dumps(body), fields=body)


def _names(plan: Plan) -> list[str]:
    return [seat.target.provider for seat in plan.order]


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(ModelNotFoundError):
        _router(None).plan(chat("nope"))


@pytest.mark.parametrize(
    ("asked", "need", "param"),
    [
        (_asked([_IMAGE]), "vision", "messages"),
        (_asked(tools=_TOOLS), "tools", "tools"),
        (_asked(response_format=_SCHEMA), "json_schema", "response_format"),
    ],
)
def test_only_the_able_are_asked_and_the_unknown_are_able(
    asked: ChatRequest, need: str, param: str
) -> None:
    no, yes = Capabilities(**{need: False}), Capabilities(**{need: True})
    assert _names(_router(no, None, yes, Capabilities()).plan(asked)) == ["p1", "p2", "p3"]
    assert _names(_router(no, None, yes).plan(_asked())) == ["p0", "p1", "p2"]
    with pytest.raises(InvalidRequestError) as raised:
        _router(no, no).plan(asked)
    assert raised.value.facts["param"] == param


def test_no_target_may_lack_any_of_two_needs() -> None:
    router = _router(Capabilities(vision=False), Capabilities(tools=False))
    with pytest.raises(InvalidRequestError) as raised:
        router.plan(_asked([_IMAGE], tools=_TOOLS))
    assert raised.value.facts["param"] == "tools"


def test_a_long_prompt_goes_where_it_fits() -> None:
    router = _router(Capabilities(context=1000), Capabilities(context=100_000), None)
    assert _names(router.plan(_asked("x" * 8000))) == ["p1", "p2"]
    assert _names(router.plan(_asked("x" * 800))) == ["p0", "p1", "p2"]


def test_a_prompt_too_long_for_all_is_told_unless_it_is_in_doubt() -> None:
    router = _router(Capabilities(context=1000), Capabilities(context=2000))
    with pytest.raises(ContextLengthExceededError) as raised:
        router.plan(_asked("x" * 20_000))
    assert raised.value.facts["param"] == "messages"
    assert _names(router.plan(_asked("x" * 9000))) == ["p1"], "the provider counts better"


def test_an_images_bytes_are_no_tokens() -> None:
    facts = RequestFacts(_asked([_IMAGE, {"type": "text", "text": "x" * 400}]), 0)
    assert 1000 < facts.prompt_tokens < 1300


_DATA = "A" * 400_000


@pytest.mark.parametrize(
    "part",
    [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": _DATA}},
        {"type": "input_audio", "input_audio": {"format": "wav", "data": _DATA}},
        {"type": "input_image", "image_url": _DATA},
    ],
)
def test_an_attachments_bytes_are_no_tokens_and_it_is_not_free(part: dict[str, object]) -> None:
    asked = _asked([part, {"type": "text", "text": "x" * 400}])
    assert 1000 < RequestFacts(asked, 0).prompt_tokens < 4000
    assert _names(_router(Capabilities(context=8000)).plan(asked)) == ["p0"]


def test_attachments_of_what_only_anthropic_takes_are_no_tokens_either() -> None:
    def block(kind: str) -> dict[str, object]:
        source = {"type": "base64", "media_type": "application/pdf", "data": _DATA}
        return {"type": kind, "source": source}

    text = {"type": "document", "source": {"type": "text", "data": "x" * 4000}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [block("image")]}
    messages = [{"role": "user", "content": [block("document"), block("image"), text, result]}]
    asked = ChatRequest(
        "m",
        stream=False,
        include_usage=False,
        body=orjson.dumps({"model": "m", "messages": messages}),
        fields={"messages": []},
        wire="anthropic",
        untranslatable=InvalidRequestError("a web search"),
    )
    facts = RequestFacts(asked, 0)
    assert 6000 < facts.prompt_tokens < 6500
    assert "vision" in facts.needs


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 16_384),
        ({"max_tokens": 10}, 10),
        ({"max_tokens": 10, "max_completion_tokens": 20, "n": 3}, 60),
        ({"max_tokens": 10**9}, 16_384),
        ({"max_tokens": None, "n": None}, 16_384),
    ],
)
def test_output_is_bounded_by_what_is_asked(fields: dict[str, object], tokens: int) -> None:
    assert RequestFacts(_asked(**fields), 0).max_output_tokens == tokens


def test_the_requests_wish_comes_before_the_groups_rule_and_that_before_the_instances() -> None:
    router = _router(None, aliases={"quick": Alias(("m",), "latency_optimized", 1.5)})
    assert router.plan(chat("m")).decision.strategy == "failover"
    plan = router.plan(chat("quick"))
    assert (plan.decision.strategy, plan.hedge_after_s) == ("latency_optimized", 1.5)
    for name in STRATEGIES:
        assert router.plan(chat("quick"), name).decision.strategy == name


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="cost_optimized") as raised:
        _router(None).plan(chat("m"), "best")
    assert raised.value.facts["param"] == STRATEGY_PARAM


def test_who_is_dark_is_left_out_and_the_decision_says_why() -> None:
    router = _router(None, None, None)
    router.ledger.state(Target("p0", "m")).cool_until = 2000.0
    router.ledger.state(Target("p0", "m")).ready_at = 2000.0
    router.ledger.state(Target("p2", "m")).breaker.probe_until = 1001.0
    plan = router.plan(chat("m"))
    assert _names(plan) == ["p1"]
    assert plan.decision.skipped == [
        (Target("p0", "m"), "cooling"),
        (Target("p2", "m"), "probing"),
    ]


async def test_turns_outlast_a_refresh_that_changes_nothing_of_theirs() -> None:
    ledger, other = Ledger(), FakeProvider("q", models=["x"])
    declared = [Declaration(f"p{n}", "o", FakeProvider(), ("m",)) for n in range(2)]
    catalogue = Catalogue([*declared, Declaration("q", "o", other)], ledger)
    router = Router(catalogue, ledger, RouterDefaults("round_robin"))
    firsts = []
    for turn in range(4):
        other.models = [f"x{turn}"]
        await catalogue.refresh()
        firsts.append(_names(router.plan(chat("m")))[0])
    assert firsts == ["p0", "p1", "p0", "p1"]


@pytest.mark.parametrize("asked_while_away", [False, True])
async def test_a_target_that_returns_is_counted_again(*, asked_while_away: bool) -> None:
    ledger, provider = Ledger(), FakeProvider("p", models=["x", "y"])
    catalogue = Catalogue([Declaration("p", "o", provider)], ledger)
    router = Router(catalogue, ledger)
    await catalogue.refresh()
    router.plan(chat("x"))
    for models in (["y"], ["x", "y"]):
        provider.models = models
        await catalogue.refresh()
        if asked_while_away:
            router.plan(chat("y"))
    (seat,) = router.plan(chat("x")).order
    assert seat.state is ledger.state(Target("p", "x"))


def test_decisions_are_bounded_and_newest_first() -> None:
    router = _router(None)
    for _ in range(MAX_DECISIONS + 5):
        router.plan(chat("m"))
    router.plan(chat("p0/m"))
    decisions = router.decisions.snapshot()
    assert len(decisions) == MAX_DECISIONS
    assert decisions[0].model == "p0/m"
