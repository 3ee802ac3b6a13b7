"""Plans the order in which a request's targets are tried."""

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.routing.capabilities import able, having
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.decisions import Decision, DecisionLog
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.seat import Seat
from ailb_server.routing.strategies import DEFAULT_STRATEGY, STRATEGIES
from ailb_server.routing.table import RoutingTable, ServedModel

STRATEGY_PARAM = "x-ailb-routing-strategy"

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


@dataclass(frozen=True, slots=True)
class RouterDefaults:
    """What holds where neither the request nor the model's group says otherwise."""

    strategy: str = DEFAULT_STRATEGY
    hedge_after_s: float | None = None


@dataclass(slots=True)
class Router:
    """The catalogue's table, fitted to the request and ordered by a strategy.

    `rng` is the strategies' chance, `wall` the time of day for the decision log.
    """

    catalogue: Catalogue
    ledger: Ledger
    defaults: RouterDefaults = field(default_factory=RouterDefaults)
    rng: random.Random = field(default_factory=random.Random)
    decisions: DecisionLog = field(default_factory=DecisionLog)
    wall: Callable[[], float] = time.time
    _table: RoutingTable | None = None
    _groups: dict[str, _Group] = field(default_factory=dict)

    def plan(self, request: ChatRequest, strategy: str | None = None) -> Plan:
        """Names at least one target. `strategy` is the caller's wish, by name.

        Raises ModelNotFoundError, InvalidRequestError, ContextLengthExceededError.
        """
        group = self._group(request.model)
        name = self._strategy(strategy, group.served)
        now = self.ledger.clock()
        facts = RequestFacts(request, now)
        seats = group.seats
        if request.operation is not Operation.CHAT:
            seats = having(seats, request.operation, request.model)
        if not group.plain:
            seats = able(seats, facts)
        ready, skipped = _parted(seats, facts, now)
        order = STRATEGIES[name](ready, facts, self.rng) if ready else []
        decision = self._decided(request.model, name, order)
        decision.skipped.extend((seat.target, seat.blocked_by(facts, now)) for seat in skipped)
        hedge = group.served.hedge_after_s
        return Plan(
            facts, order, skipped, decision, self.defaults.hedge_after_s if hedge is None else hedge
        )

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
            served = table.resolve(model)
            seats = [self.ledger.seat(target) for target in served.targets]
            plain = all(target.capabilities is None for target in served.targets)
            group = self._groups[model] = _Group(served, seats, plain)
        return group

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
