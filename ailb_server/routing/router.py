"""Plans the order in which a request's targets are tried."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError, UpstreamUnavailableError
from ailb_server.domain.route import Asker, sticky_key
from ailb_server.routing.capabilities import able, having
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.decisions import Decision, DecisionLog
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.route_index import RoutedModel, RoutedVersion
from ailb_server.routing.seat import Seat
from ailb_server.routing.strategies import DEFAULT_STRATEGY, STRATEGIES
from ailb_server.routing.table import UNLISTED_RETRY_S, RoutingTable, ServedModel

STRATEGY_PARAM = "x-ailb-routing-strategy"
_LAST_RESORT = "failover"
# A hedge asks a second target of the same version.
_HEDGEABLE = 2

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Plan:
    """Whom to ask: `order` may be asked now, best first; `skipped` could not when it was made."""

    facts: RequestFacts
    order: list[Seat]
    skipped: list[Seat]
    decision: Decision
    hedge_after_s: float | None = None


@dataclass(slots=True)
class _Group:
    """A name's seats, for as long as what it stands for stays the same.

    `plain`: nothing is declared of what they can do.
    """

    served: ServedModel
    seats: list[Seat]
    plain: bool


@dataclass(slots=True)
class _Seating:
    """What becomes of a group's seats in one request; `strategy` is by name."""

    facts: RequestFacts
    strategy: str
    order: list[Seat]
    skipped: list[Seat]
    hedge_after_s: float | None

    def join(self, other: "_Seating") -> None:
        """Adds another version's seats behind these, as the last resort."""
        if len(self.order) < _HEDGEABLE:
            # Who is only slow must not lose its sessions to another version.
            self.hedge_after_s = None
        known = {id(seat.state) for seat in (*self.order, *self.skipped)}
        self.order += [seat for seat in other.order if id(seat.state) not in known]
        self.skipped += [seat for seat in other.skipped if id(seat.state) not in known]


@dataclass(frozen=True, slots=True)
class RouterDefaults:
    """What holds where neither the request nor the model's group says otherwise."""

    strategy: str = DEFAULT_STRATEGY
    hedge_after_s: float | None = None


@dataclass(slots=True)
class Router:
    """The catalogue's table, fitted to the request and ordered by a strategy.

    `rng` is the strategies' chance, `wall` the time of day for the decision log, `route_time` that
    of the model routes' promotions.
    """

    catalogue: Catalogue
    ledger: Ledger
    defaults: RouterDefaults = field(default_factory=RouterDefaults)
    rng: random.Random = field(default_factory=random.Random)
    decisions: DecisionLog = field(default_factory=DecisionLog)
    wall: Callable[[], float] = time.time
    route_time: Callable[[], float] = time.time
    _table: RoutingTable | None = None
    _groups: dict[str, _Group] = field(default_factory=dict)
    _version_groups: WeakKeyDictionary[RoutedVersion, _Group] = field(
        default_factory=WeakKeyDictionary
    )

    def plan(
        self, request: ChatRequest, strategy: str | None = None, asker: Asker | None = None
    ) -> Plan:
        """Names at least one target. `strategy` is the caller's wish, by name; without an `asker`
        no model route takes the request.

        Raises ModelNotFoundError, InvalidRequestError, ContextLengthExceededError,
        UpstreamUnavailableError.
        """
        routes = self.catalogue.routes
        routed = None if routes is None or asker is None else routes.match(request, asker)
        facts = RequestFacts(request, self.ledger.clock())
        if routed is not None and asker is not None:
            versions = self._versions(request, asker, routed)
            if versions:
                return self._by_route(request, strategy, facts, versions)
        return self._plan(
            request, self._seated(request, strategy, facts, self._group(request.model))
        )

    def destinations(self, request: ChatRequest, asker: Asker) -> Sequence[str]:
        """`provider/model` of all targets that the request's version, or its model, stands for:
        what an answer hangs on beside the request. Empty if nobody serves it."""
        routes = self.catalogue.routes
        routed = None if routes is None else routes.match(request, asker)
        try:
            versions = [] if routed is None else self._versions(request, asker, routed)
        except UpstreamUnavailableError:
            return ()
        served = versions[0].served if versions else self.catalogue.table.find(request.model)
        return [f"{target.provider}/{target.model}" for target in served.targets] if served else ()

    def _seated(
        self, request: ChatRequest, strategy: str | None, facts: RequestFacts, group: _Group
    ) -> _Seating:
        name = self._strategy(strategy, group.served)
        seats = group.seats
        if request.operation is not Operation.CHAT:
            seats = having(seats, request.operation, request.model)
        if not group.plain:
            seats = able(seats, facts)
        ready, skipped = _parted(seats, facts, facts.now)
        order = STRATEGIES[name](ready, facts, self.rng) if ready else []
        hedge = group.served.hedge_after_s
        return _Seating(
            facts, name, order, skipped, self.defaults.hedge_after_s if hedge is None else hedge
        )

    def _plan(self, request: ChatRequest, seating: _Seating) -> Plan:
        facts, order, skipped = seating.facts, seating.order, seating.skipped
        decision = self._decided(request.model, seating.strategy, order)
        decision.skipped.extend(
            (seat.target, seat.blocked_by(facts, facts.now)) for seat in skipped
        )
        return Plan(facts, order, skipped, decision, seating.hedge_after_s)

    def _versions(
        self, request: ChatRequest, asker: Asker, routed: RoutedModel
    ) -> list[RoutedVersion]:
        """Those that may serve it, the request's own first. None, if the route is not the key's."""
        terms = routed.route.terms
        ranked = routed.ranked(
            sticky_key(request, asker, terms.sticky), self.route_time(), self.rng
        )
        if ranked:
            return ranked if terms.falls_back else ranked[:1]
        if asker.who.allowed_models and self.catalogue.table.find(request.model) is not None:
            return []
        raise UpstreamUnavailableError(
            f"No version of the route {terms.route_id} that gets traffic has a target now.",
            retry_after_s=UNLISTED_RETRY_S,
            model=request.model[:256],
        )

    def _by_route(
        self,
        request: ChatRequest,
        strategy: str | None,
        facts: RequestFacts,
        versions: Sequence[RoutedVersion],
    ) -> Plan:
        """The first version that can serve the request, then the targets of the others, which are
        the last resort: then the request's session is not where it was."""
        chosen: _Seating | None = None
        refused: InvalidRequestError | None = None
        served = ""
        for version in versions:
            try:
                # No turn is spent, and no draw made, on what is asked only if all others fail.
                last = chosen is not None and chosen.order
                wished = _LAST_RESORT if last else strategy
                seating = self._seated(request, wished, facts, self._version_group(version))
            except InvalidRequestError as error:
                refused = refused or error
                continue
            if chosen is None:
                chosen, served = seating, version.served.id
            else:
                chosen.join(seating)
        if chosen is None:
            raise refused or AssertionError("there is a version")
        plan = self._plan(request, chosen)
        plan.decision.route = served
        return plan

    def _version_group(self, version: RoutedVersion) -> _Group:
        group = self._version_groups.get(version)
        if group is None:
            group = self._version_groups[version] = self._made(version.served)
        return group

    def _decided(self, model: str, strategy: str, order: Sequence[Seat]) -> Decision:
        targets = tuple([seat.target for seat in order])
        decision = Decision(self.wall(), model, strategy, targets)
        self.decisions.add(decision)
        if _log.isEnabledFor(logging.DEBUG) and targets:
            first = targets[0]
            _log.debug("%s: %s chooses %s/%s", model, strategy, first.provider, first.model)
        return decision

    def _strategy(self, wished: str | None, served: ServedModel) -> str:
        if not wished:
            return served.strategy or self.defaults.strategy
        if wished not in STRATEGIES:
            known = ", ".join(STRATEGIES)
            raise InvalidRequestError(
                f"There is no routing strategy of this name. There are: {known}.",
                param=STRATEGY_PARAM,
            )
        return wished

    def _group(self, model: str) -> _Group:
        table = self.catalogue.table
        if table is not self._table:
            self._groups = {n: g for n, g in self._groups.items() if self._holds(n, g, table)}
            self._table = table
        group = self._groups.get(model)
        if group is None:
            group = self._groups[model] = self._made(table.resolve(model))
        return group

    def _made(self, served: ServedModel) -> _Group:
        seats = [self.ledger.seat(target) for target in served.targets]
        plain = all(target.capabilities is None for target in served.targets)
        return _Group(served, seats, plain)

    def _holds(self, name: str, group: _Group, table: RoutingTable) -> bool:
        """Whether a group is still what its name stands for, and its seats are of the ledger: a
        target that was away for a while is another one there."""
        return group.served == table.find(name) and all(
            seat.state is self.ledger.state(seat.target)
            and seat.gate is self.ledger.gate(seat.target.provider)
            for seat in group.seats
        )


def _parted(
    seats: Sequence[Seat], facts: RequestFacts, now: float
) -> tuple[Sequence[Seat], list[Seat]]:
    """Those that may be asked now, and those that may not."""
    ready = [
        seat
        for seat in seats
        # Written out, because it is all that most seats of most plans need.
        if seat.state.ready_at <= now
        and seat.state.breaker.probe_until <= now
        and (seat.gate is None or not seat.gate.limited or seat.admits(facts, now))
    ]
    if len(ready) == len(seats):
        return ready, []
    kept = set(ready)
    return ready, [seat for seat in seats if seat not in kept]
