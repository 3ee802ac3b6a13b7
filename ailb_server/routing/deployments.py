"""Where traffic is shared between versions, and how callers name a version.

module/VERSION   this instance's version, as told to load balancers
ROUTE/VERSION    a version within a route
VERSION          either, where only one is called so
ROUTE/           in rollbacks: the version before, there; `module/` likewise
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.rollout import ALL, DEFAULT_INTERVAL_S, OTHERS, Rollout, begun
from ailb_server.domain.route import ModelRoute, RouteTable
from ailb_server.domain.route_syntax import MODULE

_MAX_TOLD = 10


@dataclass(frozen=True, slots=True)
class Deployment:
    """Something with shares: a route's versions, or (without a `route`) this instance's version
    beside others. `version` is the one that is spoken of."""

    route_id: str
    route: ModelRoute | None
    rollout: Rollout
    version: str = ""

    @property
    def label(self) -> str:
        """The full name of the version that is spoken of."""
        return self.labelled(self.version)

    @property
    def interval_s(self) -> int:
        """Of promotions in steps."""
        return DEFAULT_INTERVAL_S if self.route is None else self.route.terms.interval_s

    def labelled(self, version: str) -> str:
        """A version's full name."""
        return f"{self.route_id}/{version}"

    def versions(self) -> Sequence[str]:
        """Those that can be named: what others run is not ours to promote."""
        if self.route is None:
            return [name for name, _ in self.rollout.weights if name != OTHERS]
        return [name for name, _ in self.rollout.weights]


def versioned(
    route_id: str, route: ModelRoute | None, rollout: Rollout, version: str = ""
) -> Deployment:
    """A deployment, and a version of it."""
    return Deployment(route_id, route, rollout, version)


def instance_rollout(table: RouteTable, version: str) -> Rollout:
    """Of this instance's version; all to it, if nobody has said otherwise."""
    return table.instance or begun(((version, ALL), (OTHERS, 0)), 0.0)


def deployments(table: RouteTable, version: str) -> list[Deployment]:
    """This instance's first, then the routes' by id."""
    own = Deployment(MODULE, None, instance_rollout(table, version))
    return [own, *(Deployment(r.route_id, r, r.rollout) for r in table.routes)]


def found(table: RouteTable, own_version: str, name: str) -> Deployment:
    """The deployment and version that a name means. Raises NotFoundError, and InvalidRequestError
    if it may mean several."""
    if not name:
        raise InvalidRequestError("`version` is needed.", param="version")
    route_id, slash, version = name.rpartition("/")
    hits = [
        Deployment(one.route_id, one.route, one.rollout, version)
        for one in deployments(table, own_version)
        if version in one.versions() and (one.route_id == route_id or not slash)
    ]
    if not hits:
        raise NotFoundError(
            f"There is no version `{name[:192]}`. This instance's is `{MODULE}/{own_version}`.",
            param="version",
        )
    if len(hits) > 1:
        raise InvalidRequestError(
            f"`{name[:192]}` is the name of several versions: {_names(hits)}.", param="version"
        )
    return hits[0]


def back(table: RouteTable, own_version: str, name: str) -> Deployment:
    """Where a rollback leads that names no version: within what `name` (`route/`) names, else in
    the one deployment that can go back. Raises as `found`."""
    ways = [one for one in _ways_back(table, own_version) if not name or f"{one.route_id}/" == name]
    if not ways:
        raise NotFoundError("There is nothing to roll back to.", param="target_version")
    if len(ways) > 1:
        raise InvalidRequestError(
            f"`target_version` must say what to roll back: {_names(ways)} are possible.",
            param="target_version",
        )
    return ways[0]


def _ways_back(table: RouteTable, own_version: str) -> Iterator[Deployment]:
    for one in deployments(table, own_version):
        version = one.rollout.back_to(table.now)
        if version is not None:
            yield Deployment(one.route_id, one.route, one.rollout, version)


def _names(found: Sequence[Deployment]) -> str:
    more = ", …" if len(found) > _MAX_TOLD else ""
    return ", ".join(one.label for one in found[:_MAX_TOLD]) + more
