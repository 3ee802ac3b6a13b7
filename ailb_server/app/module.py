"""What MarchProxy's load balancer calls, and the heartbeats beside it, put together."""

import asyncio
import re
import socket
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from google.protobuf.json_format import MessageToDict

from ailb_server.access.limit_administration import LimitAdministration
from ailb_server.api.health_service import HealthService
from ailb_server.api.module.calls import ModuleCalls
from ailb_server.api.module.configuration import ConfigurationCalls
from ailb_server.api.module.desk import Desk
from ailb_server.api.module.end import EndCalls
from ailb_server.api.module.figures import FigureCalls
from ailb_server.api.module.instances import InstanceCalls
from ailb_server.api.module.limits import LimitCalls
from ailb_server.api.module.module_service import ModuleService
from ailb_server.api.module.routes import RouteCalls
from ailb_server.api.module.status import DeepParts, OwnStatus, StatusCalls
from ailb_server.app.audit import OpenAudit
from ailb_server.app.disk import disk_health
from ailb_server.app.presence import SILENT_S, Presence
from ailb_server.app.reloading import Reloading, ReloadPorts
from ailb_server.app.routes import OpenRoutes
from ailb_server.app.routing import OpenRouting
from ailb_server.app.services import module_services
from ailb_server.app.version import VERSION
from ailb_server.domain.module import Beat, Instance
from ailb_server.server import Register
from ailb_server.settings import Configuration, Settings
from ailb_server.storage.instances import PostgresInstances
from ailb_server.storage.overlays import PostgresOverlays
from ailb_server.storage.pool import Store
from ailb_server.telemetry import logs
from ailb_server.telemetry.config_metrics import ConfigMetrics
from ailb_server.telemetry.metrics import Metrics
from marchproxy import module_pb2 as pb

_EVERYWHERE = frozenset({"", "0.0.0.0", "::"})  # noqa: S104
_PORT = re.compile(r":\d+$")


@dataclass(frozen=True, slots=True)
class Signs:
    """Moments that several parts wait for: `changed` is set when the store has news of the
    configuration, `draining` once this instance ends."""

    changed: asyncio.Event
    draining: asyncio.Event


@dataclass(frozen=True, slots=True)
class ModuleParts:
    """Of the instance. `journals` is where they are; `read` and `end` are the process's ways."""

    configuration: Configuration
    store: Store
    audit: OpenAudit
    metrics: Metrics
    routing: OpenRouting
    routes: OpenRoutes
    health: HealthService
    limits: LimitAdministration
    journals: Path
    signs: Signs
    read: Callable[[], Configuration] | None
    end: Callable[[float | None], None] | None


@dataclass(frozen=True, slots=True)
class OpenModule:
    """`services` are to be served; then `begin` tells where, and starts the heartbeats."""

    services: Sequence[Register]
    reloading: Reloading
    presence: Presence
    own: OwnStatus

    def begin(self, settings: Settings, port: int, closing: AsyncExitStack) -> None:
        """Within a running loop; `closing` ends it and takes this instance off the list."""
        self.own.fixed = replace(self.own.fixed, address=_address(settings, port))
        self.presence.start()
        closing.push_async_callback(self.presence.close)


async def open_module(parts: ModuleParts) -> OpenModule:
    """Puts in force what was changed at run time before, too."""
    settings, rows = parts.configuration.settings, parts.audit.rows
    reloading = _reloading(parts)
    await reloading.start()
    instances = PostgresInstances(parts.store, rows, SILENT_S)
    vitals = parts.metrics.vitals
    own = OwnStatus(
        Instance(
            module_id=settings.module_id,
            boot=str(uuid.uuid4()),
            address="",
            version=VERSION,
            started_at=time.time(),
            max_connections=settings.max_concurrent_requests,
        ),
        parts.health.look,
        vitals,
        lambda: reloading.state,
        parts.routes.weight.current,
    )
    calls = ModuleCalls(
        status=StatusCalls(own, _deep(parts)),
        figures=FigureCalls(
            settings.module_id, vitals, parts.metrics.registry, parts.signs.draining
        ),
        routes=parts.routes.routes,
        weights=parts.routes.weights,
        limits=LimitCalls(parts.limits),
        instances=InstanceCalls(instances, SILENT_S),
        configuration=ConfigurationCalls(reloading, _beside(parts.limits, parts.routes.routes)),
        end=None if parts.end is None else EndCalls(parts.end),
    )
    service = ModuleService(calls, Desk(settings.module_id, parts.audit.log, instances.list))

    async def heard(beat: Beat) -> None:
        await reloading.follow(beat.overlay)

    presence = Presence(instances, own.instance, heard, parts.signs.changed)
    return OpenModule(module_services(service), reloading, presence, own)


def _address(settings: Settings, port: int) -> str:
    """Where others reach this instance, which listens on `port`."""
    told, host = settings.module_address, settings.host
    if told is None:
        told = socket.gethostname() if host in _EVERYWHERE else host
        told = f"[{told}]" if ":" in told else told
    return told if _PORT.search(told) else f"{told}:{port}"


def _reloading(parts: ModuleParts) -> Reloading:
    ports = ReloadPorts(
        parts.read or (lambda: parts.configuration),
        PostgresOverlays(parts.store, parts.audit.rows),
        parts.audit.log,
        logs.set_level,
    )
    metrics = ConfigMetrics(parts.metrics.registry)
    return Reloading(parts.configuration, parts.routing.switching, ports, metrics)


def _deep(parts: ModuleParts) -> DeepParts:
    needed_mb = parts.configuration.settings.usage_journal_max_mb
    return DeepParts(
        parts.routing.catalogue.refresh,
        lambda: disk_health(parts.journals, needed_mb),
        parts.routing.switching.ledger.snapshot,
    )


def _beside(
    limits: LimitAdministration, routes: RouteCalls
) -> dict[str, Callable[[], Awaitable[object]]]:
    """The types of configuration that others keep."""

    async def listed() -> object:
        return [asdict(limit) for limit in await limits.list()]

    async def routed() -> object:
        found = await routes.get_routes(pb.GetRoutesRequest())
        return [MessageToDict(r, preserving_proto_field_name=True) for r in found.routes]

    return {"limits": listed, "routes": routed}
