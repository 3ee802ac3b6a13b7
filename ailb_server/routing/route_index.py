"""Finds the route of a request. Compiled against a routing table, immutable but for its caches."""

import math
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import translate
from hashlib import blake2b

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.principal import Principal
from ailb_server.domain.route import Asker, Face, ModelRoute, path_of
from ailb_server.domain.target import Target
from ailb_server.routing.table import RoutingTable, ServedModel

MAX_CACHED = 4096
_HASHES = 2.0**64


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class RoutedVersion:
    """A version with the targets that it stands for now. `names` are what its targets are called
    in a key's allowed models, by target."""

    name: str
    served: ServedModel
    names: Mapping[Target, tuple[str, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class RoutedModel:
    """A route, and those of its versions that a caller may be sent to."""

    route: ModelRoute
    versions: tuple[RoutedVersion, ...]
    paths: re.Pattern[str] | None

    def targets(self) -> tuple[Target, ...]:
        """Of all its versions, with or without a share now."""
        return tuple(dict.fromkeys(t for v in self.versions for t in v.served.targets))

    def ranked(self, key: str, now: float, rng: random.Random) -> list[RoutedVersion]:
        """Those with a share and a target, the request's own first, then what it falls back to.

        By weighted rendezvous hashing of `key`, so that a share that grows takes from the others
        only what it needs; without a key by chance. Schindelhauer and Schomaker, "Weighted
        Distributed Hash Tables" (2005).
        """
        if len(self.route.terms.versions) == 1:
            return [v for v in self.versions if v.served.targets]
        weights = dict(self.route.rollout.at(now))
        route_id = self.route.route_id
        scored = [
            (-math.log(_draw(route_id, v.name, key, rng)) / weights[v.name], index)
            for index, v in enumerate(self.versions)
            if weights.get(v.name) and v.served.targets
        ]
        return [self.versions[index] for _, index in sorted(scored)]


@dataclass(frozen=True, slots=True)
class RouteIndex:
    """`exact` are the routes of one model's name, `patterns` the others, both best first: by
    priority, then by id. An exact name comes before any pattern."""

    table: RoutingTable
    exact: Mapping[str, tuple[RoutedModel, ...]]
    patterns: tuple[tuple[re.Pattern[str], RoutedModel], ...]
    _cache: dict[object, tuple[RoutedModel, ...]] = field(default_factory=dict)

    def match(self, request: ChatRequest, asker: Asker) -> RoutedModel | None:
        """The route that takes the request; None if none does."""
        face = asker.face
        if face is None:
            return None
        streamed = request.stream and face is Face.GRPC
        what = (request.operation, request.wire, streamed)
        key = (request.model, face, what, asker.who.allowed_models)
        found = self._cache.get(key)
        if found is None:
            found = tuple(self._matching(request, face, asker.who))
            if len(self._cache) >= MAX_CACHED:
                self._cache.clear()
            self._cache[key] = found
        for routed in found:
            if not routed.route.terms.headers or _has(asker, routed.route.terms.headers):
                return routed
        return None

    def named(self, model: str) -> Iterator[RoutedModel]:
        """Every route that takes a model's name, whatever else it asks for; best first."""
        yield from self.exact.get(model, ())
        for pattern, routed in self.patterns:
            if pattern.fullmatch(model):
                yield routed

    def _matching(self, request: ChatRequest, face: Face, who: Principal) -> Iterator[RoutedModel]:
        path = path_of(request, face)
        for routed in self.named(request.model):
            terms = routed.route.terms
            if terms.face not in (None, face):
                continue
            if routed.paths is not None and not routed.paths.fullmatch(path):
                continue
            allowed = self._allowed(routed, request.model, who)
            if allowed is not None:
                yield allowed

    def _allowed(self, routed: RoutedModel, model: str, who: Principal) -> RoutedModel | None:
        """The route as far as a key with allowed models may go by it.

        A name that exists by routes alone stands for whatever they say. Where it is a model's
        already, the key was made for that: it goes on to what it may use by any name, and to the
        model's own targets.
        """
        served = self.table.find(model) if who.allowed_models else None
        if served is None:
            return routed
        own = set(served.targets)
        versions = [_kept(version, own, who) for version in routed.versions]
        kept = tuple(version for version in versions if version is not None)
        return RoutedModel(routed.route, kept, routed.paths) if kept else None


def index_of(routes: Sequence[ModelRoute], table: RoutingTable) -> RouteIndex | None:
    """Of all routes; None without any, so that requests need not ask. One that has no target now
    stays: what it takes must not go elsewhere."""
    exact: dict[str, list[RoutedModel]] = {}
    patterns: list[tuple[re.Pattern[str], RoutedModel]] = []
    for route in sorted(routes, key=lambda one: (-one.terms.priority, one.route_id)):
        routed = _compiled(route, table)
        pattern = route.terms.model_pattern
        if route.terms.is_pattern:
            patterns.append((re.compile(translate(pattern)), routed))
        else:
            exact.setdefault(pattern, []).append(routed)
    if not exact and not patterns:
        return None
    return RouteIndex(table, {k: tuple(v) for k, v in exact.items()}, tuple(patterns))


def _compiled(route: ModelRoute, table: RoutingTable) -> RoutedModel:
    terms = route.terms
    versions = tuple(_version(route, v.name, v.models, table) for v in terms.versions)
    paths = re.compile(translate(terms.path_pattern)) if terms.path_pattern else None
    return RoutedModel(route, versions, paths)


def _version(
    route: ModelRoute, name: str, models: tuple[str, ...], table: RoutingTable
) -> RoutedVersion:
    members = [(model, served) for model in models if (served := table.find(model)) is not None]
    names: dict[Target, tuple[str, ...]] = {}
    for model, served in members:
        for target in served.targets:
            known = names.get(target, (f"{target.provider}/{target.model}", target.model))
            names[target] = (*known, model)
    strategy, hedge = route.terms.strategy, None
    if len(members) == 1:
        strategy, hedge = strategy or members[0][1].strategy, members[0][1].hedge_after_s
    served = ServedModel(f"{route.route_id}/{name}", "ailb", tuple(names), strategy, hedge)
    return RoutedVersion(name, served, names)


def _kept(version: RoutedVersion, own: set[Target], who: Principal) -> RoutedVersion | None:
    targets = tuple(
        target
        for target in version.served.targets
        if target in own or any(who.may_use(name) for name in version.names[target])
    )
    if targets == version.served.targets:
        return version
    served = version.served
    narrowed = ServedModel(
        served.id, served.owned_by, targets, served.strategy, served.hedge_after_s
    )
    return RoutedVersion(version.name, narrowed, version.names) if targets else None


def _has(asker: Asker, headers: Iterable[tuple[str, str]]) -> bool:
    told = dict(asker.metadata)
    return all(told.get(name) == value for name, value in headers)


def _draw(route_id: str, version: str, key: str, rng: random.Random) -> float:
    """More than 0, at most 1."""
    if not key:
        return 1.0 - rng.random()
    text = f"{route_id}\0{version}\0{key}".encode(errors="surrogatepass")
    digest = blake2b(text, digest_size=8)
    return (int.from_bytes(digest.digest()) + 0.5) / _HASHES
