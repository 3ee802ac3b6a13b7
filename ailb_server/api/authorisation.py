"""Who may call which method: what is not in the table, nobody may."""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from ailb_server.domain.principal import Role


class Access(Enum):
    """The roles that may call a method; None: nobody is asked for a key."""

    ANYBODY = None
    ANY_KEY = frozenset(Role)
    USER = frozenset({Role.USER, Role.ADMIN})
    ADMIN = frozenset({Role.ADMIN})
    MODULE = frozenset({Role.MODULE})
    NOBODY = frozenset[Role]()


_METRICS = "/ailb.v1.MetricsService/GetMetrics"

_METHODS: Mapping[str, Mapping[str, Access]] = {
    # Probes of load balancers and containers have no keys, and health says nothing of value.
    "grpc.health.v1.Health": dict.fromkeys(("Check", "List", "Watch"), Access.ANYBODY),
    "ailb.v1.HealthService": {"GetHealth": Access.ANYBODY},
    "grpc.reflection.v1alpha.ServerReflection": {"ServerReflectionInfo": Access.ANY_KEY},
    "ailb.v1.MetricsService": {"GetMetrics": Access.ADMIN},
    "ailb.v1.StatsService": dict.fromkeys(
        ("GetRoutingStats", "ListRoutingDecisions"), Access.ADMIN
    ),
    "ailb.v1.ApiKeyService": dict.fromkeys(
        (
            "CreateApiKey",
            "ListApiKeys",
            "GetApiKey",
            "UpdateApiKey",
            "RotateApiKey",
            "RevokeApiKey",
        ),
        Access.ADMIN,
    ),
    "ailb.v1.TenantService": dict.fromkeys(
        ("CreateTenant", "ListTenants", "GetTenant", "UpdateTenant"), Access.ADMIN
    ),
    "ailb.v1.UsageService": {
        "ListUsage": Access.ADMIN,
        "ExportUsage": Access.ADMIN,
        "ListOwnUsage": Access.USER,
    },
    "ailb.openai.v1.OpenAIService": dict.fromkeys(
        ("CreateChatCompletion", "CreateCompletion", "CreateEmbedding"), Access.USER
    ),
    "ailb.anthropic.v1.AnthropicService": dict.fromkeys(
        ("CreateMessage", "CountTokens"), Access.USER
    ),
    "ailb.v1.ChatService": dict.fromkeys(
        ("CreateChatCompletion", "StreamChatCompletion"), Access.USER
    ),
    "ailb.v1.EmbeddingService": {"CreateEmbeddings": Access.USER},
    "ailb.v1.ModelService": dict.fromkeys(("ListModels", "GetModel"), Access.USER),
    "ailb.v1.MemoryService": dict.fromkeys(
        (
            "ListSessions",
            "GetSession",
            "ListTurns",
            "SearchTurns",
            "DeleteSession",
            "DeleteSessions",
            "ReindexSessions",
        ),
        Access.USER,
    ),
    "ailb.v1.KnowledgeService": dict.fromkeys(
        (
            "CreateCollection",
            "ListCollections",
            "GetCollection",
            "DeleteCollection",
            "ImportDocuments",
            "GetImport",
            "WatchImport",
            "ListDocuments",
            "GetDocument",
            "DeleteDocument",
            "SearchPassages",
            "ReindexCollection",
        ),
        Access.USER,
    ),
    "marchproxy.ModuleService": dict.fromkeys(
        (
            "GetStatus",
            "HealthCheck",
            "GetStats",
            "GetMetrics",
            "StreamMetrics",
            "GetRoutes",
            "UpdateRoutes",
            "DeleteRoute",
            "CanHandle",
            "SetTrafficWeight",
            "GetActiveVersion",
            "PromoteVersion",
            "Rollback",
            "GetRateLimits",
            "SetRateLimit",
            "ApplyRateLimit",
            "RemoveRateLimit",
            "GetInstances",
            "Scale",
            "Reload",
            "GetConfig",
            "UpdateConfig",
            "Shutdown",
        ),
        Access.MODULE,
    ),
}

TABLE: Mapping[str, Access] = MappingProxyType(
    {
        f"/{service}/{method}": access
        for service, methods in _METHODS.items()
        for method, access in methods.items()
    }
)


def access_to(method: str, *, open_metrics: bool = False) -> Access:
    """Who may call `/package.Service/Method`. `open_metrics`: the setting METRICS_WITHOUT_KEY."""
    if open_metrics and method == _METRICS:
        return Access.ANYBODY
    return TABLE.get(method, Access.NOBODY)
