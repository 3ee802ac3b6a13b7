"""Whether this instance would serve a request, without making it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from ailb_server.domain.route import PATHS, PROTOCOLS, RouteTable, RouteTerms
from ailb_server.domain.route_syntax import group_text
from ailb_server.domain.target import Target
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_changes import updated
from ailb_server.routing.route_index import RoutedModel, RouteIndex


@dataclass(frozen=True, slots=True)
class Question:
    """A request, as far as it is told. `model` and `path` may be patterns, empty is any; `protocol`
    is a name of `marchproxy.Protocol`, UNSPECIFIED any. `terms`: a route that would be made."""

    model: str
    path: str = ""
    protocol: str = "UNSPECIFIED"
    headers: Mapping[str, str] = field(default_factory=dict)
    terms: RouteTerms | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """`priority` is the route's, 0 without one; `facts` are for people."""

    serves: bool
    reason: str
    priority: int = 0
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Serving:
    """By the routes in force, the models served and the targets that are up. `ending` tells whether
    this instance drains."""

    live: LiveRoutes
    ledger: Ledger
    ending: Callable[[], bool] = lambda: False

    def verdict(self, question: Question) -> Verdict:
        """Raises InvalidRequestError for a route that could not be made."""
        if self.ending():
            return Verdict(serves=False, reason="This instance ends.")
        protocol = question.protocol.replace("UNSPECIFIED", "")
        if protocol not in PROTOCOLS:
            return Verdict(serves=False, reason=f"{protocol} is not served: only HTTP and gRPC.")
        face = PROTOCOLS[protocol]
        paths = [
            path
            for path, its in PATHS.items()
            if face in (None, its) and (not question.path or fnmatchcase(path, question.path))
        ]
        if not paths:
            return Verdict(serves=False, reason=f"No model is served at {question.path[:256]}.")
        if question.terms is not None:
            return self._could_be_made(question.terms)
        return self._served(question, paths)

    def _could_be_made(self, terms: RouteTerms) -> Verdict:
        table = self.live.catalogue.table
        others = tuple(r for r in self.live.table.routes if r.route_id != terms.route_id)
        now = self.live.now()
        (made,) = [
            route
            for route in updated(
                RouteTable(routes=others, now=now), [terms], table, replace_all=False
            )
            if route.route_id == terms.route_id
        ]
        models = (model for version in terms.versions for model in version.models)
        targets = [t for m in models if (served := table.find(m)) for t in served.targets]
        facts = {"destination": group_text(made.terms.versions, made.rollout.at(now))}
        return self._by_targets(targets, terms.priority, facts)

    def _served(self, question: Question, paths: Sequence[str]) -> Verdict:
        catalogue = self.live.catalogue
        routes = catalogue.routes
        if routes is not None:
            for routed in self._routed(routes, question.model):
                if _takes(routed, question, paths):
                    terms, now = routed.route.terms, self.live.now()
                    weights = {n: str(w) for n, w in routed.route.rollout.at(now)}
                    facts = {"route_id": terms.route_id, **weights}
                    return self._by_targets(routed.targets(), terms.priority, facts)
        if "*" in question.model or "?" in question.model or not question.model:
            served = [m for m in catalogue.listed() if fnmatchcase(m.id, question.model or "*")]
            return self._by_targets([t for m in served for t in m.targets], 0, {})
        found = catalogue.table.find(question.model)
        if found is None and catalogue.table.knows(question.model):
            return Verdict(serves=False, reason="Not every provider has told its models yet.")
        return self._by_targets(found.targets if found else (), 0, {})

    def _routed(self, routes: RouteIndex, model: str) -> Sequence[RoutedModel]:
        every = [*(one for group in routes.exact.values() for one in group)]
        every += [one for _, one in routes.patterns]
        same = [one for one in every if one.route.terms.model_pattern == model]
        return same or list(routes.named(model))

    def _by_targets(
        self, targets: Sequence[Target], priority: int, facts: Mapping[str, str]
    ) -> Verdict:
        now = self.ledger.clock()
        distinct = list(dict.fromkeys(targets))
        up = [t for t in distinct if not self.ledger.state(t).blocked_by(now)]
        told = {**facts, "targets": str(len(distinct)), "targets_up": str(len(up))}
        if not distinct:
            return Verdict(serves=False, reason="No provider serves it.", facts=told)
        if not up:
            return Verdict(
                serves=False, reason="None of its targets is up.", priority=priority, facts=told
            )
        reason = f"{len(up)} of {len(distinct)} targets are up."
        return Verdict(serves=True, reason=reason, priority=priority, facts=told)


def _takes(routed: RoutedModel, question: Question, paths: Sequence[str]) -> bool:
    terms = routed.route.terms
    if routed.paths is not None and not any(map(routed.paths.fullmatch, paths)):
        return False
    if terms.face is not None and not any(PATHS[path] is terms.face for path in paths):
        return False
    return all(question.headers.get(name) == value for name, value in terms.headers)
