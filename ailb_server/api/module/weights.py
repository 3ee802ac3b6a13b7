"""ModuleService's weights: SetTrafficWeight, GetActiveVersion, PromoteVersion, Rollback."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from ailb_server.api.module.desk import caller
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import NotFoundError
from ailb_server.domain.rollout import ALL, OTHERS, weight_of
from ailb_server.routing.deployments import Deployment
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.routing.route_administration import RouteAdministration
from marchproxy import module_pb2 as pb
from marchproxy import types_pb2


@dataclass(frozen=True, slots=True)
class WeightCalls:
    """Raises AilbError for what did not happen. `instance` is MODULE_ID, `who` makes the running
    call. How versions are named: `ailb_server.routing.deployments`."""

    live: LiveRoutes
    administration: RouteAdministration
    instance: str
    who: Callable[[], Actor] = caller

    async def set_traffic_weight(
        self, request: pb.SetTrafficWeightRequest
    ) -> pb.SetTrafficWeightResponse:
        """At once; ends a promotion."""
        here = self._here(request.instance_id)
        done = await self.administration.set_weight(
            request.version, request.weight, self.who(), here=here
        )
        told = f"{done.label} has {request.weight} percent."
        return pb.SetTrafficWeightResponse(
            success=True, message=told, current_config=self._config(done)
        )

    async def get_active_version(
        self, request: pb.GetActiveVersionRequest
    ) -> pb.GetActiveVersionResponse:
        """This instance's version; the weights of all; and the one that last changed, in full."""
        if not self._here(request.instance_id):
            raise self._elsewhere(request.instance_id)
        every = [one for one in self.administration.deployments() if len(one.rollout.weights) > 1]
        last = max(every, key=lambda one: one.rollout.changed_at)
        return pb.GetActiveVersionResponse(
            active_version=self.live.version,
            config=self._config(last),
            version_weights=self._weights(every),
        )

    async def promote_version(self, request: pb.PromoteVersionRequest) -> pb.PromoteVersionResponse:
        """Immediately, or by steps of `promotion_rate` percent."""
        rate = ALL if request.immediate else request.promotion_rate
        here = self._here(request.instance_id)
        done = await self.administration.promote(request.version, rate, self.who(), here=here)
        now = self.live.now()
        share = weight_of(done.rollout.at(now), done.version)
        told = f"{done.label} has {share} percent"
        if done.rollout.under_way(now):
            told += f", and {rate} more every {done.interval_s} s"
        return pb.PromoteVersionResponse(
            success=True, message=f"{told}.", promoted_version=done.label
        )

    async def rollback(self, request: pb.RollbackRequest) -> pb.RollbackResponse:
        """At once."""
        here = self._here(request.instance_id)
        active, done = await self.administration.roll_back(
            request.target_version, self.who(), here=here
        )
        return pb.RollbackResponse(
            success=True,
            message=f"{done.label} has all again.",
            previous_version=active,
            current_version=done.label,
        )

    def _here(self, instance_id: str) -> bool:
        return instance_id in ("", self.instance)

    def _elsewhere(self, instance_id: str) -> NotFoundError:
        return NotFoundError(
            f"This is the instance {self.instance}, not {instance_id[:64]}.", param="instance_id"
        )

    def _weights(self, every: "list[Deployment]") -> Mapping[str, int]:
        now = self.live.now()
        weights = {self.live.version: self.live.current()}
        for one in every:
            if one.route is not None:
                weights |= {one.labelled(name): had for name, had in one.rollout.at(now)}
        return weights

    def _config(self, one: Deployment) -> types_pb2.BlueGreenConfig:
        now = self.live.now()
        weights = one.rollout.at(now)
        (blue, blue_weight), (green, green_weight) = (*weights, ("", 0))[:2]
        active = one.rollout.active(now)
        active_weight = weight_of(weights, active)
        return types_pb2.BlueGreenConfig(
            blue_version=one.labelled(blue),
            green_version=one.labelled(green) if green and green != OTHERS else "",
            blue_weight=blue_weight,
            green_weight=green_weight,
            active_version=one.labelled(active) if active != OTHERS else "",
            canary_enabled=active_weight < ALL,
            canary_percent=ALL - active_weight,
            deployment_started=_time(one.rollout.changed_at),
        )


def _time(seconds: float) -> Timestamp | None:
    if not seconds:
        return None
    at = Timestamp()
    at.FromDatetime(datetime.fromtimestamp(seconds, UTC))
    return at
