"""What the providers offer: the models declared, or those that a provider lists now."""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import AilbError
from ailb_server.domain.route import Asker, ModelRoute
from ailb_server.domain.target import Capabilities, Price, Target
from ailb_server.routing.ledger import DOWN_AFTER, Ledger
from ailb_server.routing.route_index import RouteIndex, index_of
from ailb_server.routing.table import Alias, Offer, RoutingTable, ServedModel, compile_table

_log = logging.getLogger(__name__)


class Listing(Protocol):
    """The part of a provider that the catalogue asks."""

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`."""
        ...


class ListPrices(Protocol):
    """What a provider's vendor asks."""

    def of(self, model: str) -> Price | None:
        """As far as it was learnt."""
        ...

    async def learn(self, models: Sequence[str]) -> None:
        """Looks up those that are new. Does not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Declaration:
    """A provider as configured. Without `models` its own listing is used.

    `prices` and `capabilities` are by model; `*` names the capabilities of all other models.
    `list_prices` tell what the vendor asks for a model without a price here. `operations` are what
    the provider has; without chats, its state says nothing of whether they are answered.
    """

    provider: str
    owned_by: str
    listing: Listing
    models: tuple[str, ...] = ()
    weight: int = 1
    prices: Mapping[str, Price] | None = None
    capabilities: Mapping[str, Capabilities] | None = None
    list_prices: ListPrices | None = None
    operations: frozenset[Operation] = frozenset(Operation)

    def target(self, model: str) -> Target:
        """The target that `model` is at this provider."""
        price = (self.prices or {}).get(model)
        if price is None and self.list_prices is not None:
            price = self.list_prices.of(model)
        declared = self.capabilities or {}
        capabilities = declared.get(model, declared.get("*"))
        return Target(self.provider, model, self.weight, price, capabilities, self.operations)


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """`problem` is empty for a provider that works, as far as it was tried."""

    provider: str
    problem: str


class Catalogue:
    """Holds the current routing table; `refresh` builds a new one and swaps it in."""

    def __init__(
        self,
        declarations: Sequence[Declaration],
        ledger: Ledger,
        aliases: Mapping[str, Alias] | None = None,
    ) -> None:
        self._declarations = tuple(declarations)
        self._ledger = ledger
        self._aliases = aliases or {}
        self._listed: dict[str, tuple[str, ...]] = {}
        self._unlisted = {d.provider for d in self._declarations if not d.models}
        self._problems: dict[str, str] = {}
        self._warned: set[str] = set()
        # Set once a provider has not got what it listed: time to ask again.
        self.doubted = asyncio.Event()
        self.table: RoutingTable = self._compile()
        self._model_routes: Sequence[ModelRoute] = ()
        self._routes: RouteIndex | None = None

    def doubt(self, provider: str) -> None:
        """A provider says that it has not got a model: what it listed is no longer so."""
        if any(d.provider == provider and not d.models for d in self._declarations):
            self.doubted.set()

    def set_routes(self, routes: Sequence[ModelRoute]) -> None:
        """Puts model routes before the table, in place of those that were."""
        self._model_routes = tuple(routes)
        self._routes = index_of(self._model_routes, self.table)

    @property
    def routes(self) -> RouteIndex | None:
        """The model routes as of the table that is in force now; None while there are none."""
        if self._routes is not None and self._routes.table is not self.table:
            self._routes = index_of(self._model_routes, self.table)
        return self._routes

    def candidates(self, model: str) -> Sequence[Target]:
        """Every target that a request for a model may go to, by whichever route, or without."""
        served = self.table.find(model)
        own = served.targets if served else ()
        routes = self.routes
        if routes is None:
            return own
        routed = (target for one in routes.named(model) for target in one.targets())
        return tuple(dict.fromkeys((*own, *routed)))

    def targets_of(self, request: ChatRequest, asker: Asker | None) -> Sequence[Target]:
        """Those of the request's route, or of its model. Raises as `RoutingTable.resolve`."""
        routes = self.routes
        routed = routes.match(request, asker) if routes and asker else None
        routed_to = () if routed is None else routed.targets()
        return routed_to or self.table.resolve(request.model).targets

    def route_of(self, model: str) -> str | None:
        """The id of the first route that takes a model's name, whatever else it asks for."""
        routes = self.routes
        if routes is None:
            return None
        return next((routed.route.route_id for routed in routes.named(model)), None)

    def route_taking(self, request: ChatRequest, asker: Asker | None) -> str | None:
        """The id of the route that takes a request; without an asker, as `route_of`."""
        routes = self.routes
        if routes is None:
            return None
        if asker is None:
            return self.route_of(request.model)
        routed = routes.match(request, asker)
        return None if routed is None else routed.route.route_id

    def described(self, model: str) -> ServedModel:
        """A name that may be asked for. Raises as `RoutingTable.resolve`."""
        if self.table.find(model) is None and self.route_of(model) is not None:
            return ServedModel(model, "ailb", tuple(self.candidates(model)))
        return self.table.resolve(model)

    def listed(self) -> Sequence[ServedModel]:
        """The names that callers may ask for: the table's, and what routes add by name."""
        models = tuple(self.table.models.values())
        routes = self.routes
        if routes is None:
            return models
        added = [name for name in routes.exact if self.table.find(name) is None]
        return (*models, *map(self.described, added))

    def redeclare(
        self,
        declarations: Sequence[Declaration],
        aliases: Mapping[str, Alias],
        renewed: Collection[str],
        listings: Mapping[str, Sequence[str]],
    ) -> None:
        """Swaps in a table of other declarations. What is known of a provider stays, unless it is
        among the `renewed`: those are other servers, or other accounts, than their name was.
        `listings` is what providers have listed just now."""
        kept = {d.provider for d in declarations} - set(renewed)
        self._declarations, self._aliases = tuple(declarations), aliases
        self._listed = {name: listed for name, listed in self._listed.items() if name in kept}
        self._listed |= {name: tuple(models) for name, models in listings.items()}
        self._problems = {name: told for name, told in self._problems.items() if name in kept}
        self._unlisted = {
            d.provider
            for d in self._declarations
            if not d.models and d.provider not in self._listed
        }
        self.table = self._compile()
        self._ledger.forget_except(self.table.targets())
        self.doubted.set()

    async def refresh(self) -> None:
        """Asks every provider for its models, all at once; who fails keeps what it had."""
        self.doubted.clear()
        asked = await asyncio.gather(
            *(self._ask(declaration) for declaration in self._declarations), return_exceptions=True
        )
        table = self._compile()
        if table != self.table:
            self.table = table
        self._warn_of_clashes()
        self._warn_of_empty_aliases()
        self._ledger.forget_except(self.table.targets())
        for fault in asked:
            # One of ours: it must be seen, but not cost the other providers their models.
            if fault is not None:
                raise fault

    def _warn_of_clashes(self) -> None:
        """Once for each."""
        for name in sorted(self.table.clashes - self._warned):
            _log.warning(
                "the model listed as %s has another's qualified name, which wins: ask for it by its"
                " provider's name, a slash, and its own",
                name,
            )
            self._warned.add(name)

    def _warn_of_empty_aliases(self) -> None:
        """Once for each, and not while a provider has yet to tell what it serves."""
        if self.table.unlisted:
            return
        for name in set(self._aliases) - set(self.table.models) - self._warned:
            _log.warning("the alias %s stands for nothing: no provider serves what it names", name)
            self._warned.add(name)

    def health(self) -> list[ProviderHealth]:
        """Every provider of chats, by its last listing and its last attempts."""
        return [
            ProviderHealth(d.provider, self._problems.get(d.provider) or self._failing(d.provider))
            for d in self._declarations
            if Operation.CHAT in d.operations
        ]

    def _failing(self, provider: str) -> str:
        states = self._ledger.by_provider(provider).values()
        if any(state.credential.refused for state in states):
            return "it refuses AILB's credential"
        tried = [s for s in states if s.totals.attempts or s.consecutive_failures]
        failing = [s for s in tried if s.consecutive_failures >= DOWN_AFTER]
        if failing and len(failing) == len(tried):
            return f"the last {failing[0].consecutive_failures} attempts failed"
        return ""

    async def _ask(self, declaration: Declaration) -> None:
        name = declaration.provider
        try:
            models = await declaration.listing.list_models()
        except AilbError as error:
            if self._is_asked(declaration):
                self._note(name, str(error))
            return
        # It may have been redeclared while it was asked.
        if not self._is_asked(declaration):
            return
        self._unlisted.discard(name)
        if models is not None:
            await self._learn(declaration, models)
            self._listed[name] = tuple(models)
        silent = models is None and not declaration.models
        self._note(name, "it lists no models: declare them" if silent else "")

    def _is_asked(self, declaration: Declaration) -> bool:
        return any(d.listing is declaration.listing for d in self._declarations)

    async def _learn(self, declaration: Declaration, models: Sequence[str]) -> None:
        if declaration.list_prices is not None:
            unpriced = [model for model in models if model not in (declaration.prices or {})]
            await declaration.list_prices.learn(unpriced)

    def _note(self, provider: str, problem: str) -> None:
        if problem != self._problems.get(provider, ""):
            state = "is well" if not problem else f"has a problem: {problem}"
            _log.log(
                logging.WARNING if problem else logging.INFO, "provider %s %s", provider, state
            )
        self._problems[provider] = problem

    def _compile(self) -> RoutingTable:
        offers = [self._offer(d) for d in self._declarations]
        return compile_table(offers, self._aliases, self._unlisted)

    def _offer(self, declaration: Declaration) -> Offer:
        models = declaration.models or self._listed.get(declaration.provider, ())
        # A listing may name a model twice: it is one target all the same.
        targets = tuple(declaration.target(model) for model in dict.fromkeys(models))
        return Offer(declaration.provider, declaration.owned_by, targets)
