"""What is done to routes and to the shares of versions, for all instances."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from ailb_server.domain.audit import Actor, AuditEvent, AuditLog
from ailb_server.domain.errors import (
    AilbError,
    InvalidRequestError,
    NotFoundError,
    StorageUnavailableError,
)
from ailb_server.domain.rollout import ALL, Rollout
from ailb_server.domain.route import (
    ModelRoute,
    RouteChange,
    RouteEdit,
    RouteTable,
    RouteTableUnsoundError,
    RouteTerms,
)
from ailb_server.domain.route_syntax import MODULE
from ailb_server.routing.deployments import (
    Deployment,
    back,
    deployments,
    found,
    instance_rollout,
    versioned,
)
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_changes import described, updated, with_rollout, without

# So many changed routes are told in the audit log in full.
_MAX_DESCRIBED = 20


@dataclass(frozen=True, slots=True)
class RouteAdministration:
    """Every change is one transaction with its row in the audit log; one that failed is told there
    too. Raises InvalidRequestError, NotFoundError, StorageUnavailableError."""

    live: LiveRoutes
    audit: AuditLog

    async def update(self, asked: Sequence[RouteTerms], by: Actor, *, replace_all: bool) -> int:
        """Puts routes in; the number of those that are not as they were."""
        subject = f"route {asked[0].route_id[:128]}" if len(asked) == 1 else "routes"
        event = AuditEvent("route.updated", by, subject=subject)
        before: list[ModelRoute] = []

        def change(table: RouteTable) -> RouteEdit:
            before[:] = table.routes
            names = self.live.catalogue.table
            after = updated(table, asked, names, replace_all=replace_all)
            return RouteEdit(after, table.instance, _told(event, table, after))

        table = await self._change(change, event)
        return len(_differing(before, table.routes))

    async def delete(self, route_id: str, by: Actor) -> None:
        """Takes a route away."""
        event = AuditEvent("route.deleted", by, subject=f"route {route_id[:128]}")

        def change(table: RouteTable) -> RouteEdit:
            after = without(table, route_id)
            return RouteEdit(after, table.instance, _told(event, table, after))

        await self._change(change, event)

    async def set_weight(
        self, version: str, weight: int, by: Actor, *, here: bool = True
    ) -> Deployment:
        """Gives a version `weight` percent at once. `version`: see `found`; `here`: whether this
        instance's own may be meant, in the other methods too."""
        event = AuditEvent("weight.set", by, subject=f"version {version[:192]}")

        def moved(one: Deployment, now: float) -> Rollout:
            if not 0 <= weight <= ALL:
                raise InvalidRequestError(f"`weight` must be from 0 to {ALL}.", param="weight")
            if len(one.rollout.weights) == 1 and weight != ALL:
                raise InvalidRequestError(
                    f"`{one.label}` is the only version there: it has all.", param="weight"
                )
            return one.rollout.weighted(one.version, weight, now)

        return await self._moved(_named(version, here=here), moved, event)

    async def promote(self, version: str, rate: int, by: Actor, *, here: bool = True) -> Deployment:
        """Gives a version all: by steps of `rate` percent, from ALL on at once."""
        event = AuditEvent("version.promoted", by, subject=f"version {version[:192]}")

        def moved(one: Deployment, now: float) -> Rollout:
            if not 1 <= rate <= ALL:
                raise InvalidRequestError(
                    f"`promotion_rate` must be 1 to {ALL} percent a step, or `immediate` be set.",
                    param="promotion_rate",
                )
            return one.rollout.promoted(one.version, rate, one.interval_s, now)

        return await self._moved(_named(version, here=here), moved, event)

    async def roll_back(
        self, target: str, by: Actor, *, here: bool = True
    ) -> tuple[str, Deployment]:
        """Gives a version all at once: the one named, or the one before (see `back`). Returns the
        version that was active, too."""
        event = AuditEvent("version.rolled_back", by, subject=f"version {target[:192]}")
        active = ""

        def moved(one: Deployment, now: float) -> Rollout:
            nonlocal active
            active = one.labelled(one.rollout.active(now))
            return one.rollout.weighted(one.version, ALL, now)

        done = await self._moved(_named(target, here=here, before=True), moved, event)
        return active, done

    def deployments(self) -> Sequence[Deployment]:
        """All that have shares: this instance's version first, then routes by id."""
        return deployments(self.live.table, self.live.version)

    async def _moved(
        self,
        find: Callable[[RouteTable, str], Deployment],
        moved: Callable[[Deployment, float], Rollout],
        event: AuditEvent,
    ) -> Deployment:
        chosen: list[Deployment] = []

        def change(table: RouteTable) -> RouteEdit:
            one = find(table, self.live.version)
            chosen[:] = [one]
            rollout = moved(one, table.now)
            told = replace(
                event,
                subject=f"version {one.label}",
                before=_shares(one.rollout, table.now),
                after=_shares(rollout, table.now),
            )
            if one.route is None:
                return RouteEdit(table.routes, rollout, told)
            return RouteEdit(with_rollout(table, one.route, rollout), table.instance, told)

        table = await self._change(change, event)
        one = chosen[0]
        if one.route is None:
            rollout = instance_rollout(table, self.live.version)
            return versioned(MODULE, None, rollout, one.version)
        route = next(r for r in table.routes if r.route_id == one.route_id)
        return versioned(route.route_id, route, route.rollout, one.version)

    async def _change(self, change: RouteChange, event: AuditEvent) -> RouteTable:
        try:
            return await self.live.change(change)
        except RouteTableUnsoundError as error:
            self.failed(event, error)
            raise StorageUnavailableError(
                "The stored routes are unsound: an operator must mend them."
            ) from error
        except AilbError as error:
            self.failed(event, error)
            raise

    def failed(self, event: AuditEvent, error: Exception) -> None:
        """Tells the audit log of a change that did not come about."""
        self.audit.record(replace(event, outcome="failed", after={"problem": str(error)}))


def _named(
    name: str, *, here: bool, before: bool = False
) -> Callable[[RouteTable, str], Deployment]:
    """Finds the version that a name means; with `before`, also one that is only said to be so."""

    def find(table: RouteTable, own_version: str) -> Deployment:
        way = back if before and (not name or name.endswith("/")) else found
        one = way(table, own_version, name)
        if one.route is None and not here:
            raise NotFoundError(
                f"`{one.label}` is of another instance than the one named.", param="instance_id"
            )
        return one

    return find


def _told(event: AuditEvent, table: RouteTable, after: Sequence[ModelRoute]) -> AuditEvent:
    old = {route.route_id: route for route in table.routes}
    new = {route.route_id: route for route in after}
    changed = _differing(table.routes, after)
    if len(changed) > _MAX_DESCRIBED:
        ids: Mapping[str, object] = {"routes": sorted(changed)}
        return replace(event, after=ids)
    told = [
        {name: described(routes[name], table.now) for name in sorted(changed) if name in routes}
        for routes in (old, new)
    ]
    return replace(event, before=told[0], after=told[1])


def _differing(before: Sequence[ModelRoute], after: Sequence[ModelRoute]) -> set[str]:
    """The ids of those that came, went or changed."""
    old = {route.route_id: route for route in before}
    new = {route.route_id: route for route in after}
    return {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}


def _shares(rollout: Rollout, now: float) -> Mapping[str, object]:
    promotion = rollout.promotion
    steps = {} if promotion is None else {"steps_of": promotion.rate, "to": promotion.version}
    return {"weights": dict(rollout.at(now)), **steps}
