"""Which names stand for which targets."""

import pytest

from ailb_server.domain.errors import ModelNotFoundError, UpstreamUnavailableError
from ailb_server.domain.target import Target
from ailb_server.routing.table import Alias, Offer, compile_table

_A1, _A2 = Target("a", "m1"), Target("a", "vendor/m:2")
_B1 = Target("b", "m1", weight=3)
_OFFERS = (Offer("a", "owner-a", (_A1, _A2)), Offer("b", "owner-b", (_B1,)))


def test_providers_with_one_model_share_it_in_order() -> None:
    served = compile_table(_OFFERS).resolve("m1")
    assert (served.id, served.owned_by, served.targets) == ("m1", "owner-a", (_A1, _B1))


def test_a_qualified_name_is_one_providers() -> None:
    table = compile_table(_OFFERS)
    assert table.resolve("b/m1").targets == (_B1,)
    assert table.resolve("a/vendor/m:2").targets == (_A2,)
    assert table.resolve("vendor/m:2").targets == (_A2,)


def test_only_listed_names_are_listed() -> None:
    assert set(compile_table(_OFFERS).models) == {"m1", "vendor/m:2"}


def test_a_qualified_name_is_its_providers_whatever_others_call_theirs() -> None:
    odd = Target("c", "a/m1")
    offers = (*_OFFERS, Offer("c", "c", (odd,)))
    table = compile_table(offers, {"best": Alias(("a/m1",)), "b/m1": Alias(("m1",))})
    assert table.resolve("a/m1").targets == (_A1,)
    assert table.models["a/m1"].owned_by == "owner-a", "as it is listed"
    assert table.resolve("best").targets == (_A1,)
    assert table.resolve("c/a/m1").targets == (odd,)
    assert table.clashes == {"a/m1"}
    assert table.resolve("b/m1").targets == (_A1, _B1), "an alias is the operator's own word"


@pytest.mark.parametrize("name", ["a/zzz", "b/m9"])
def test_a_wrong_name_of_a_known_provider_is_wrong_whoever_is_away(name: str) -> None:
    table = compile_table((*_OFFERS, Offer("dead", "dead", ())), unlisted=["dead"])
    with pytest.raises(ModelNotFoundError):
        table.resolve(name)


@pytest.mark.parametrize("name", ["dead/m", "meta-llama/m", "zzz"])
def test_a_name_that_may_be_of_who_is_away_is_told_to_come_back(name: str) -> None:
    offers = (*_OFFERS, Offer("dead", "dead", ()), Offer("gone", "gone", ()))
    table = compile_table(offers, unlisted=["dead", "gone"])
    with pytest.raises(UpstreamUnavailableError) as raised:
        table.resolve(name)
    assert raised.value.retry_after_s
    assert raised.value.facts["provider"] == ("dead" if name == "dead/m" else "dead, gone")


def test_aliases_stand_for_names_in_their_order() -> None:
    table = compile_table(
        _OFFERS,
        {"best": Alias(("b/m1", "vendor/m:2", "m1"), "failover", 2.0), "m1": Alias(("b/m1",))},
    )
    assert table.resolve("best").targets == (_B1, _A2, _A1)
    best = table.resolve("best")
    assert (best.owned_by, best.strategy, best.hedge_after_s) == ("ailb", "failover", 2.0)
    assert table.resolve("m1").strategy is None
    assert table.resolve("m1").targets == (_B1,)


def test_aliases_leave_out_what_nobody_offers() -> None:
    table = compile_table(_OFFERS, {"some": Alias(("nope", "m1")), "none": Alias(("nope",))})
    assert table.resolve("some").targets == (_A1, _B1)
    with pytest.raises(ModelNotFoundError):
        table.resolve("none")


def test_an_unknown_name_is_not_found() -> None:
    with pytest.raises(ModelNotFoundError) as raised:
        compile_table(_OFFERS).resolve("gpt-9" + "x" * 1000)
    assert raised.value.facts["param"] == "model"
    assert raised.value.facts["model"].startswith("gpt-9")
    assert len(str(raised.value)) < 400


def test_targets_are_all_that_can_be_chosen() -> None:
    wanted = {("a", "m1"), ("a", "vendor/m:2"), ("b", "m1")}
    assert compile_table(_OFFERS, {"x": Alias(("m1",))}).targets() == wanted
    assert compile_table(()).targets() == set()


def test_what_an_alias_hides_can_still_be_chosen_by_its_qualified_name() -> None:
    assert ("a", "m1") in compile_table(_OFFERS, {"m1": Alias(("b/m1",))}).targets()
