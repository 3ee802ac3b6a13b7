"""Puts a configuration in force while calls run: providers, aliases, limits, strategies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ailb_server.app.embedding import local_declaration, tell_of_clash
from ailb_server.app.providers import (
    Provider,
    aliases,
    declaration,
    dispatch_rules,
    manner,
    provider_of,
)
from ailb_server.domain.errors import AilbError
from ailb_server.embedding.local_provider import LOCAL, LocalProvider
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger, LedgerRules
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from ailb_server.settings import Configuration, ProviderSettings, Settings, SettingsError
from ailb_server.spend.list_prices import ListPrices, list_prices_of

# A process looks them up; what it has not by then is looked up with the next listing.
_PRICES_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be put in force: its providers are made. The new ones among them
    hold no connection yet. `renewed` names those that are now another server or account."""

    configuration: Configuration
    declared: Sequence[ProviderSettings]
    providers: Mapping[str, Provider]
    prices: Mapping[str, ListPrices | None]
    renewed: frozenset[str]


@dataclass(frozen=True, slots=True)
class Ready:
    """With what others had to be asked for; `listings` is what the new providers list."""

    prepared: Prepared
    rules: LedgerRules
    listings: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(slots=True)
class Switching:
    """`rules` tells what providers allow; `price_refused` is told of prices that cannot be. `extra`
    are providers of this process's own (the demo), `local` its own model: they stay."""

    roster: Roster
    ledger: Ledger
    catalogue: Catalogue
    router: Router
    dispatcher: Dispatcher
    rules: Callable[[Sequence[ProviderSettings]], Awaitable[LedgerRules]]
    price_refused: Callable[[], None]
    extra: Sequence[ProviderSettings] = ()
    local: LocalProvider | None = None
    _settings: Settings | None = field(init=False, default=None)
    _declared: Mapping[str, ProviderSettings] = field(init=False, default_factory=dict)
    _providers: Mapping[str, Provider] = field(init=False, default_factory=dict)
    _prices: Mapping[str, ListPrices | None] = field(init=False, default_factory=dict)

    def prepare(self, configuration: Configuration) -> Prepared:
        """Needs no running loop, and may take a second. Raises SettingsError."""
        declared = (*configuration.providers, *self.extra)
        names = [provider.name for provider in declared]
        if doubles := sorted({name for name in names if names.count(name) > 1}):
            raise SettingsError([f"providers: the name {name} is taken twice" for name in doubles])
        common = configuration.settings
        providers = {
            p.name: self._providers[p.name] if self._is_same(p, common) else provider_of(p, common)
            for p in declared
        }
        before = self._declared
        renewed = (p.name for p in declared if p.name in before)
        by_name = {p.name: p for p in declared}
        others = (n for n in renewed if _account(before[n]) != _account(by_name[n]))
        prices = {p.name: self._list_prices(p, common) for p in declared}
        return Prepared(configuration, declared, providers, prices, frozenset(others))

    async def ready(self, prepared: Prepared, within_s: float) -> Ready:
        """Asks for models, prices and limits of what is new, so that nothing is missing after the
        switch; what is not told in time follows later. If it is given up, the new providers are
        closed."""
        made = {
            name: provider
            for name, provider in prepared.providers.items()
            if provider is not self._providers.get(name)
        }
        try:
            rules = await self.rules(prepared.declared)
            asked = {n: asyncio.create_task(_listed(provider)) for n, provider in made.items()}
            told = await _in_time(asked, within_s)
            listings = {name: models for name, models in told.items() if models is not None}
            models = {p.name: p.models or listings.get(p.name, ()) for p in prepared.declared}
            learning = {
                name: asyncio.create_task(prices.learn(models[name]))
                for name, prices in prepared.prices.items()
                if prices is not None
            }
            await _in_time(learning, _PRICES_S)
        except BaseException:
            await asyncio.gather(*(provider.close() for provider in made.values()))
            raise
        return Ready(prepared, rules, listings)

    def apply(self, ready: Ready) -> None:
        """At once, for every request that is planned from now on; what runs goes on as it began."""
        prepared = ready.prepared
        settings, declared = prepared.configuration.settings, prepared.declared
        members: dict[str, Provider] = dict(prepared.providers)
        if self.local is not None:
            if LOCAL in members:
                tell_of_clash()
            members.setdefault(LOCAL, self.local)
        self.roster.swap(members)
        for name in prepared.renewed | (self._declared.keys() - members.keys()):
            self.ledger.forget_provider(name)
        self.ledger.relimit(ready.rules)
        known = aliases(prepared.configuration.aliases)
        self.catalogue.redeclare(
            self._declarations(prepared), known, prepared.renewed, ready.listings
        )
        self.router.defaults = RouterDefaults(settings.routing_strategy, settings.hedge_after_s)
        self.dispatcher.follow(dispatch_rules(settings))
        self._settings, self._providers = settings, prepared.providers
        self._prices = prepared.prices
        self._declared = {p.name: p for p in declared}

    def _is_same(self, provider: ProviderSettings, common: Settings) -> bool:
        before = self._declared.get(provider.name)
        if before is None or self._settings is None:
            return False
        return _account(before) == _account(provider) and (
            manner(before, self._settings) == manner(provider, common)
        )

    def _list_prices(self, provider: ProviderSettings, common: Settings) -> ListPrices | None:
        """Those that were, with what was looked up, while it is the same vendor's."""
        if not common.list_prices:
            return None
        before, known = self._declared.get(provider.name), self._prices.get(provider.name)
        if before is not None and known is not None and before.base_url == provider.base_url:
            return known
        return list_prices_of(str(provider.base_url), self.price_refused)

    def _declarations(self, prepared: Prepared) -> list[Declaration]:
        made = [
            declaration(p, member, prepared.prices[p.name])
            for p in prepared.declared
            if (member := self.roster.member(p.name)) is not None
        ]
        if self.local is not None and LOCAL not in prepared.providers:
            made.append(local_declaration(self.local))
        return made


async def _in_time(tasks: Mapping[str, "asyncio.Task[T]"], within_s: float) -> dict[str, T]:
    """What those return that end in time; the others are given up."""
    try:
        if tasks:
            await asyncio.wait(tasks.values(), timeout=within_s)
        return {name: task.result() for name, task in tasks.items() if task.done()}
    finally:
        for task in tasks.values():
            task.cancel()


async def _listed(provider: Provider) -> Sequence[str] | None:
    try:
        return await provider.list_models()
    except AilbError:
        # The catalogue asks again, and tells of it.
        return None


def _account(provider: ProviderSettings) -> tuple[object, ...]:
    """What tells a server and who asks there."""
    return provider.kind, provider.base_url, provider.api_key, dict(provider.headers)
