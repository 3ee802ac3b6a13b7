"""Puts a configuration in force while calls run: providers, aliases, limits, strategies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

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

Listings: TypeAlias = Mapping[str, Sequence[str]]
# What providers allow, by the settings and the configured ones. Does not raise.
Allowed: TypeAlias = Callable[[Settings, Sequence[ProviderSettings]], Awaitable[LedgerRules]]
NOTHING_LISTED: Listings = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be put in force: its providers are made. The new ones among them
    hold no connection yet. `renewed` names those that are now another server or account."""

    configuration: Configuration
    declared: Sequence[ProviderSettings]
    providers: Mapping[str, Provider]
    renewed: frozenset[str]


@dataclass(slots=True)
class Switching:
    """`extra` are providers of this process's own (the demo), `local` its own model: they stay."""

    roster: Roster
    ledger: Ledger
    catalogue: Catalogue
    router: Router
    dispatcher: Dispatcher
    allowed: Allowed
    price_refused: Callable[[], None]
    extra: Sequence[ProviderSettings] = ()
    local: LocalProvider | None = None
    _settings: Settings | None = field(init=False, default=None)
    _declared: Mapping[str, ProviderSettings] = field(init=False, default_factory=dict)
    _providers: Mapping[str, Provider] = field(init=False, default_factory=dict)
    # As many as there were addresses.
    _prices: dict[str, ListPrices | None] = field(init=False, default_factory=dict)

    async def begin(self, configuration: Configuration) -> None:
        """Puts the first one in force. Raises SettingsError."""
        prepared = self.prepare(configuration)
        self.apply(prepared, await self.rules(prepared))

    async def rules(self, prepared: Prepared) -> LedgerRules:
        """What the providers of a configuration allow. What their models cost is known then."""
        settings = prepared.configuration.settings
        for provider in prepared.declared:
            if (prices := self._list_prices(provider, settings)) is not None:
                await prices.learn([m for m in provider.models if m not in provider.prices])
        return await self.allowed(prepared.configuration.settings, prepared.declared)

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
        return Prepared(configuration, declared, providers, frozenset(others))

    async def listings(self, prepared: Prepared, within_s: float) -> Listings:
        """What the new providers list, so that nothing is missing after the switch; who does not
        answer in time is left out. If it is given up, the new providers are closed."""
        made = {
            p.name: prepared.providers[p.name]
            for p in prepared.declared
            if not p.models and prepared.providers[p.name] is not self._providers.get(p.name)
        }
        try:
            asked = {name: asyncio.create_task(_listed(made[name])) for name in made}
            if asked:
                await asyncio.wait(asked.values(), timeout=within_s)
            told = {name: task.result() for name, task in asked.items() if task.done()}
            for task in asked.values():
                task.cancel()
        except BaseException:
            await asyncio.gather(*(provider.close() for provider in made.values()))
            raise
        return {name: listed for name, listed in told.items() if listed is not None}

    def apply(
        self, prepared: Prepared, rules: LedgerRules, listings: Listings = NOTHING_LISTED
    ) -> None:
        """At once, for every request that is planned from now on; what runs goes on as it began."""
        settings, declared = prepared.configuration.settings, prepared.declared
        members: dict[str, Provider] = dict(prepared.providers)
        if self.local is not None:
            if LOCAL in members:
                tell_of_clash()
            members.setdefault(LOCAL, self.local)
        self.roster.swap(members)
        for name in prepared.renewed | (self._declared.keys() - members.keys()):
            self.ledger.forget_provider(name)
        self.ledger.relimit(rules)
        known = aliases(prepared.configuration.aliases)
        self.catalogue.redeclare(self._declarations(prepared), known, prepared.renewed, listings)
        self.router.defaults = RouterDefaults(settings.routing_strategy, settings.hedge_after_s)
        self.dispatcher.follow(dispatch_rules(settings))
        self._settings, self._providers = settings, prepared.providers
        self._declared = {p.name: p for p in declared}

    def _is_same(self, provider: ProviderSettings, common: Settings) -> bool:
        before = self._declared.get(provider.name)
        if before is None or self._settings is None:
            return False
        return _account(before) == _account(provider) and (
            manner(before, self._settings) == manner(provider, common)
        )

    def _list_prices(self, provider: ProviderSettings, settings: Settings) -> ListPrices | None:
        """As they were learnt before, where they were."""
        if not settings.list_prices:
            return None
        url = str(provider.base_url)
        if url not in self._prices:
            self._prices[url] = list_prices_of(url, self.price_refused)
        return self._prices[url]

    def _declarations(self, prepared: Prepared) -> list[Declaration]:
        settings = prepared.configuration.settings
        made = [
            declaration(p, member, self._list_prices(p, settings))
            for p in prepared.declared
            if (member := self.roster.member(p.name)) is not None
        ]
        if self.local is not None and LOCAL not in prepared.providers:
            made.append(local_declaration(self.local))
        return made


async def _listed(provider: Provider) -> Sequence[str] | None:
    try:
        return await provider.list_models()
    except AilbError:
        # The catalogue asks again, and tells of it.
        return None


def _account(provider: ProviderSettings) -> tuple[object, ...]:
    """What tells a server and who asks there."""
    return provider.kind, provider.base_url, provider.api_key, dict(provider.headers)
