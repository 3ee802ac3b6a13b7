"""What is served follows the providers' listings, and no provider harms another."""

import logging

import pytest

from ailb_server.domain.chat import Operation
from ailb_server.domain.errors import ModelNotFoundError, UpstreamUnavailableError
from ailb_server.domain.target import Price, Target
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.ledger import DOWN_AFTER, Ledger
from ailb_server.routing.table import Alias
from tests.unit.doubles import FakeProvider


def _declared(provider: FakeProvider, *models: str) -> Declaration:
    return Declaration(provider.name, f"{provider.name}-owner", provider, models)


async def test_serves_what_is_declared_before_any_listing() -> None:
    price = Price(prompt=3)
    declaration = Declaration("p", "o", FakeProvider(), ("m",), 7, {"m": price, "other": Price()})
    served = Catalogue([declaration], Ledger()).table.resolve("m")
    assert served.targets == (Target("p", "m", 7, price),)


async def test_serves_what_is_listed_after_a_refresh() -> None:
    provider = FakeProvider(models=["m1", "m2"])
    catalogue = Catalogue([_declared(provider)], Ledger(), {"alias": Alias(("p/m2",))})
    assert not catalogue.table.models
    await catalogue.refresh()
    assert set(catalogue.table.models) == {"m1", "m2", "alias"}
    before = catalogue.table
    provider.models = ["m2"]
    await catalogue.refresh()
    assert set(catalogue.table.models) == {"m2", "alias"}
    assert set(before.models) == {"m1", "m2", "alias"}


async def test_declared_models_win_over_listed_ones() -> None:
    catalogue = Catalogue([_declared(FakeProvider(models=["m1", "m2"]), "m2")], Ledger())
    await catalogue.refresh()
    assert set(catalogue.table.models) == {"m2"}


async def test_a_failing_listing_keeps_what_it_had(caplog: pytest.LogCaptureFixture) -> None:
    provider, other = FakeProvider("p", models=["m"]), FakeProvider("q", models=["n"])
    catalogue = Catalogue([_declared(provider), _declared(other)], Ledger())
    await catalogue.refresh()
    provider.models = UpstreamUnavailableError("The provider could not be reached.")
    other.models = ["n2"]
    with caplog.at_level(logging.WARNING):
        await catalogue.refresh()
        await catalogue.refresh()
    assert set(catalogue.table.models) == {"m", "n2"}
    problems = {health.provider: health.problem for health in catalogue.health()}
    assert problems == {"p": "The provider could not be reached.", "q": ""}
    assert len(caplog.records) == 1, "a lasting problem is logged once"
    provider.models = ["m"]
    await catalogue.refresh()
    assert [health.problem for health in catalogue.health()] == ["", ""]


async def test_a_fault_of_ours_with_one_provider_is_seen_and_costs_no_other() -> None:
    broken = FakeProvider("p", models=RuntimeError("a bug"))
    catalogue = Catalogue([_declared(broken), _declared(FakeProvider("q", models=["n"]))], Ledger())
    with pytest.raises(RuntimeError, match="a bug"):
        await catalogue.refresh()
    assert set(catalogue.table.models) == {"n"}


async def test_a_provider_without_listing_must_declare() -> None:
    silent, declared = FakeProvider("p"), FakeProvider("q")
    catalogue = Catalogue([_declared(silent), _declared(declared, "m")], Ledger())
    await catalogue.refresh()
    problems = {health.provider: health.problem for health in catalogue.health()}
    assert "declare" in problems["p"]
    assert problems["q"] == ""
    with pytest.raises(ModelNotFoundError):
        catalogue.table.resolve("p/m")


async def test_a_provider_is_ill_when_all_its_tried_models_fail() -> None:
    ledger = Ledger()
    catalogue = Catalogue([_declared(FakeProvider(), "m", "n")], ledger)
    assert catalogue.health()[0].problem == ""
    ledger.state(Target("p", "m")).breaker.failures_in_row = DOWN_AFTER
    assert catalogue.health()[0].problem == f"the last {DOWN_AFTER} attempts failed"
    ledger.state(Target("p", "n")).breaker.failures_in_row = DOWN_AFTER - 1
    assert catalogue.health()[0].problem == ""


async def test_a_refresh_forgets_targets_that_are_gone() -> None:
    ledger, provider = Ledger(), FakeProvider(models=["m", "n"])
    catalogue = Catalogue([_declared(provider)], ledger)
    await catalogue.refresh()
    ledger.state(Target("p", "n")).breaker.failures_in_row = 9
    provider.models = ["m"]
    await catalogue.refresh()
    assert not ledger.by_provider("p")


async def test_an_alias_for_nothing_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    provider = FakeProvider(models=UpstreamUnavailableError("away"))
    catalogue = Catalogue([_declared(provider)], Ledger(), {"smart": Alias(("typo",))})
    await catalogue.refresh()
    assert "smart" not in caplog.text, "its provider may yet list what it names"
    provider.models = ["m"]
    await catalogue.refresh()
    await catalogue.refresh()
    assert caplog.text.count("the alias smart stands for nothing") == 1


async def test_a_provider_without_chats_says_nothing_of_them() -> None:
    embeds = frozenset({Operation.EMBEDDING})
    provider = FakeProvider("local")
    local = Declaration("local", "ailb", provider, ("embedder",), operations=embeds)
    catalogue = Catalogue([_declared(FakeProvider("p"), "m"), local], Ledger())
    assert [health.provider for health in catalogue.health()] == ["p"]
    assert set(catalogue.table.models) == {"m", "embedder"}


async def test_a_model_listed_twice_is_one_target() -> None:
    provider = FakeProvider(models=["m", "n", "m", "m"])
    catalogue = Catalogue([_declared(provider)], Ledger(), {"alias": Alias(("m", "n"))})
    await catalogue.refresh()
    assert catalogue.table.resolve("m").targets == (Target("p", "m"),)
    assert catalogue.table.resolve("alias").targets == (Target("p", "m"), Target("p", "n"))


async def test_a_name_that_hides_behind_anothers_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    router = FakeProvider("router", models=["p/m"])
    catalogue = Catalogue([_declared(FakeProvider(), "m"), _declared(router)], Ledger())
    for _ in range(2):
        await catalogue.refresh()
    (line,) = [r.getMessage() for r in caplog.records if "p/m" in r.getMessage()]
    assert "qualified" in line


async def test_only_what_a_provider_lists_itself_is_in_doubt() -> None:
    listing, declared = FakeProvider("p", models=["m"]), FakeProvider("q")
    catalogue = Catalogue([_declared(listing), _declared(declared, "m")], Ledger())
    catalogue.doubt("q")
    assert not catalogue.doubted.is_set()
    catalogue.doubt("p")
    assert catalogue.doubted.is_set()
    await catalogue.refresh()
    assert not catalogue.doubted.is_set()
