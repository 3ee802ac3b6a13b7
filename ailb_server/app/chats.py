"""What answers chats and tells of them: routing, context, the pipeline, and their services."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ailb_server.api.anthropic_service import AnthropicService
from ailb_server.api.health_service import HealthService, Instance
from ailb_server.app.context import open_context
from ailb_server.app.ground import Ground
from ailb_server.app.listing import keep_fresh
from ailb_server.app.repeats import open_repeats
from ailb_server.app.routes import OpenRoutes, open_routes
from ailb_server.app.routing import OpenRouting, RoutingRules, open_routing
from ailb_server.app.services import (
    access_services,
    audit_services,
    core_services,
    dashboard_services,
    usage_services,
)
from ailb_server.app.usage import OpenUsage, open_usage
from ailb_server.app.version import VERSION
from ailb_server.dashboard.bundle import Bundle
from ailb_server.pipeline.context import ContextStage
from ailb_server.pipeline.metering import Metering
from ailb_server.pipeline.once import OnceOnly
from ailb_server.pipeline.record import Observers
from ailb_server.server import Register
from ailb_server.settings import Configuration, ProviderSettings


@dataclass(frozen=True, slots=True)
class OpenChats:
    """`services` are to be served; the rest is for ModuleService."""

    routing: OpenRouting
    routes: OpenRoutes
    health: HealthService
    services: Sequence[Register]


async def open_chats(
    ground: Ground,
    configuration: Configuration,
    extra: Sequence[ProviderSettings],
    draining: Callable[[], bool],
) -> OpenChats:
    """`extra` are providers beside the configured ones. Raises JournalError, SettingsError."""
    settings, metrics, closing = ground.settings, ground.metrics, ground.closing
    usage = await open_usage(settings, ground.store, metrics, closing)
    own = Observers((Metering(metrics), usage.own))
    rules = RoutingRules(ground.limits.ledger_rules, ground.limits.pricing)
    routing = await open_routing(configuration, extra, rules, metrics, own, closing)
    await keep_fresh(routing.catalogue, settings.provider_refresh_s, closing)
    router, heard = routing.pipeline.router, ground.routes_heard
    routes = await open_routes(settings, ground.audit, router, heard, draining, closing)
    url = ground.place.database_url
    context = await open_context(settings, ground.store, url, routing.embedders, metrics, closing)
    instance = Instance(settings.module_id, VERSION, draining)
    parts = (*context.health, usage.health)
    health = HealthService(instance, routing.catalogue, ground.store.ping, parts)
    chats = _pipeline(ground, routing, usage, context.stage)
    counting = replace(routing.counting, admission=chats.admission)
    messages = AnthropicService(chats, counting)
    services = (
        *core_services(chats, messages, routing.catalogue, metrics, health, routing.stats),
        *context.services,
        *access_services(ground.access.administration, ground.access.tenants),
        *usage_services(usage.service),
        *audit_services(ground.audit.service),
        *dashboard_services(Bundle.load(keyless=not ground.access.gate.required)),
    )
    return OpenChats(routing, routes, health, services)


def _pipeline(
    ground: Ground, routing: OpenRouting, usage: OpenUsage, stage: ContextStage
) -> OnceOnly:
    """Callers' own. The embedders ask another: what they embed has no context and no caller."""
    settings, metrics, catalogue = ground.settings, ground.metrics, routing.catalogue
    router = routing.pipeline.router
    repeats = open_repeats(settings, ground.store, router, metrics, ground.closing)
    admission = ground.limits.admission(settings, catalogue, catalogue.route_taking)
    told = (Metering(metrics), usage.callers, ground.observing.access_log, routing.traffic)
    pipeline = replace(
        routing.pipeline,
        context=stage,
        admission=admission,
        pricing=ground.limits.pricing,
        observer=Observers(told),
        cache=repeats.cache,
    )
    return repeats.once(pipeline, admission)
