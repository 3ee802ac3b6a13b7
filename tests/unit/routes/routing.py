"""A router with model routes, and what asks it."""

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.principal import Principal
from ailb_server.domain.rollout import begun, first_has_all
from ailb_server.domain.route import Face, Metadata, ModelRoute, RouteTerms
from ailb_server.domain.route_syntax import parse_group
from ailb_server.domain.target import Capabilities, Price, Target
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.router import Plan, Router, RouterDefaults
from ailb_server.routing.table import Alias
from tests.unit.doubles import FakeProvider, chat
from tests.unit.routing.clock import Clock

MODELS = {"openai": ("gpt-4o", "gpt-4o-mini"), "local": ("llama", "gpt-4o")}


@dataclass(frozen=True)
class Call:
    """An `Asker`."""

    face: Face | None = Face.REST
    who: Principal = field(default_factory=Principal)
    session_id: str | None = None
    metadata: Metadata = ()


def terms(
    route_id: str = "r", model: str = "smart", group: str = "openai/gpt-4o", **more: object
) -> RouteTerms:
    versions, weights = parse_group(group)
    return RouteTerms(route_id, model, versions, weights, **more)  # type: ignore[arg-type]


def route(
    route_id: str = "r", model: str = "smart", group: str = "openai/gpt-4o", **more: object
) -> ModelRoute:
    asked = terms(route_id, model, group, **more)
    weights = asked.weights or first_has_all([version.name for version in asked.versions])
    plain = RouteTerms(
        route_id,
        model,
        asked.versions,
        None,
        asked.protocol,
        asked.path_pattern,
        asked.headers,
        asked.priority,
        asked.metadata,
    )
    return ModelRoute(plain, begun(weights, 1000.0))


def router(*routes: ModelRoute, capabilities: Capabilities | None = None) -> Router:
    """Of MODELS, in declared order; `capabilities` are those of `local`."""
    ledger = Ledger(clock=Clock())
    declared = [
        Declaration(
            name,
            name,
            FakeProvider(name),
            models,
            prices={model: Price(len(name), 1) for model in models},
            capabilities={"*": capabilities} if capabilities and name == "local" else None,
        )
        for name, models in MODELS.items()
    ]
    aliases = {"best": Alias(("openai/gpt-4o", "local/llama"), "round_robin", 1.5)}
    catalogue = Catalogue(declared, ledger, aliases)
    catalogue.set_routes(routes)
    return Router(
        catalogue,
        ledger,
        RouterDefaults("failover"),
        rng=random.Random(5),  # noqa: S311
        route_time=lambda: 1000.0,
    )


def names(targets: Iterable[Target]) -> list[str]:
    return [f"{t.provider}/{t.model}" for t in targets]


def order(plan: Plan) -> list[str]:
    return names(seat.target for seat in plan.order)


def ask(found: Router, model: str = "smart", call: Call | None = None) -> list[str]:
    """Whom a chat is sent to, in order."""
    return order(found.plan(chat(model), None, call or Call()))


def sessions(found: Router, count: int, model: str = "smart") -> Sequence[str]:
    """The first target of each of so many sessions."""
    return [ask(found, model, Call(session_id=f"s{n}"))[0] for n in range(count)]


def shares(firsts: Sequence[str]) -> Counter[str]:
    return Counter(firsts)
