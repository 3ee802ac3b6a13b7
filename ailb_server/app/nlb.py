"""The registration at MarchProxy's load balancer, put together."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from types import MappingProxyType

from ailb_server.api.module.messages import STATUSES, module_instance, module_stats, timestamp
from ailb_server.api.module.route_wire import route_message
from ailb_server.api.module.status import OwnStatus
from ailb_server.marchproxy.link import Link, NlbError, Trouble, dial
from ailb_server.marchproxy.orders import Orders
from ailb_server.marchproxy.registration import Registration, Target
from ailb_server.routing.live_routes import LiveRoutes
from ailb_server.settings import Settings
from ailb_server.settings.tls_files import nlb_caller
from ailb_server.telemetry.metrics import Metrics
from ailb_server.telemetry.nlb_metrics import NlbMetrics
from ailb_server.tls.files import TlsFileError
from marchproxy import nlb_pb2 as pb
from marchproxy import types_pb2 as types

# What an instance of this version serves, for whoever reads the load balancer's list.
CAPABILITIES: Mapping[str, str] = MappingProxyType(
    {
        "apis": "ailb.v1,openai,anthropic",
        "streaming": "true",
        "model_routes": "true",
        "rate_limits": "true",
        "traffic_weight": "true",
        "reload": "true",
        "graceful_shutdown": "true",
    }
)
_HEALTH_PATH = "/grpc.health.v1.Health/Check"
_HEALTH_EVERY_S = 10
_HEALTH_TIMEOUT_S = 5
_UNHEALTHY_AFTER = 3
_HEALTHY_AFTER = 1


@dataclass(frozen=True, slots=True)
class NlbParts:
    """Of the instance. `own` knows its address already; `reload` tells by itself what comes of
    it."""

    settings: Settings
    metrics: Metrics
    own: OwnStatus
    routes: LiveRoutes
    reload: Callable[[], Awaitable[None]]


def open_nlb(parts: NlbParts, closing: AsyncExitStack) -> Registration | None:
    """Begins it within a running loop, and waits for nothing; None without NLB_ADDRESS. Raises
    TlsFileError."""
    settings = parts.settings
    address, caller = settings.nlb_address, nlb_caller(settings)
    if address is None:
        return None
    if caller is not None:
        caller.credentials()

    def dialled() -> Link:
        try:
            # Read anew for each connection: certificates are replaced while this runs.
            credentials = None if caller is None else caller.credentials()
        except TlsFileError as error:
            raise NlbError(Trouble.FILES, str(error)) from error
        return dial(address, settings.nlb_timeout_s, credentials)

    registration = Registration(
        Target(address, settings.module_id, settings.nlb_heartbeat_s),
        dialled,
        OwnFacts(settings, parts.own, parts.routes),
        Orders(parts.reload),
        NlbMetrics(parts.metrics.registry),
    )
    closing.push_async_callback(registration.close)
    registration.start()
    return registration


@dataclass(frozen=True, slots=True)
class OwnFacts:
    """See `marchproxy.registration.Facts`."""

    settings: Settings
    own: OwnStatus
    routes: LiveRoutes

    async def registration(self) -> pb.RegisterModuleRequest:
        """Its model routes, and one for each face that it is reached by."""
        instance = module_instance(await self.own.instance())
        now = self.routes.now()
        return pb.RegisterModuleRequest(
            instance=instance,
            initial_routes=[
                *(route_message(route, now) for route in self.routes.table.routes),
                *self._faces(instance.address),
            ],
            health_config=types.HealthCheckConfig(
                interval_seconds=_HEALTH_EVERY_S,
                timeout_seconds=_HEALTH_TIMEOUT_S,
                unhealthy_threshold=_UNHEALTHY_AFTER,
                healthy_threshold=_HEALTHY_AFTER,
                health_check_path=_HEALTH_PATH,
                health_check_port=_port(instance.address),
                health_check_protocol=types.PROTOCOL_GRPC,
            ),
            capabilities={
                **CAPABILITIES,
                "tls": "false" if self.settings.tls_cert_file is None else "true",
            },
        )

    async def heartbeat(self, registration_id: str) -> pb.HeartbeatRequest:
        """With the figures that GetStats tells."""
        instance = await self.own.instance()
        return pb.HeartbeatRequest(
            instance_id=instance.module_id,
            registration_id=registration_id,
            status=STATUSES[instance.status],
            current_stats=module_stats(instance.module_id, self.own.vitals.snapshot()),
            timestamp=timestamp(self.own.vitals.wall()),
        )

    def _faces(self, address: str) -> Sequence[types.Route]:
        module_id, rest = self.settings.module_id, self.settings.module_rest_address
        faces = [_face(f"{module_id}.grpc", types.PROTOCOL_GRPC, address, "/ailb.*")]
        if rest is not None:
            secure = self.settings.envoy_tls_cert_file is not None
            protocol = types.PROTOCOL_HTTPS if secure else types.PROTOCOL_HTTP
            faces.append(_face(f"{module_id}.rest", protocol, rest, "/v1/*"))
        return faces


def _face(
    route_id: str, protocol: types.Protocol.ValueType, address: str, paths: str
) -> types.Route:
    """Every model, at one of this instance's own ports; without a priority, as what is left."""
    return types.Route(
        route_id=route_id,
        protocol=protocol,
        source_pattern="*",
        destination_pattern=address,
        destination_port=_port(address),
        path_pattern=paths,
        metadata={"ailb.face": "own"},
    )


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
