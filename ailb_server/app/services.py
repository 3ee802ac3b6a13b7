"""Every service of the gRPC server, as it is registered."""

from collections.abc import Sequence
from functools import partial

from ailb.anthropic.v1 import anthropic_service_pb2_grpc
from ailb.openai.v1 import openai_service_pb2_grpc
from ailb.v1 import (
    api_key_service_pb2_grpc,
    chat_service_pb2_grpc,
    embedding_service_pb2_grpc,
    health_service_pb2_grpc,
    knowledge_service_pb2_grpc,
    memory_service_pb2_grpc,
    metrics_service_pb2_grpc,
    model_service_pb2_grpc,
    stats_service_pb2_grpc,
    tenant_service_pb2_grpc,
    usage_service_pb2_grpc,
)
from ailb_server.access.administration import KeyAdministration
from ailb_server.access.tenant_administration import TenantAdministration
from ailb_server.api.anthropic_service import AnthropicService
from ailb_server.api.api_key_service import ApiKeyService
from ailb_server.api.chat_service import ChatService
from ailb_server.api.embedding_service import EmbeddingService
from ailb_server.api.health_service import HealthService
from ailb_server.api.knowledge_service import KnowledgeService
from ailb_server.api.memory_service import MemoryService
from ailb_server.api.metrics_service import MetricsService
from ailb_server.api.model_service import ModelService
from ailb_server.api.module.module_service import ModuleService
from ailb_server.api.openai_service import OpenAIService
from ailb_server.api.stats_service import StatsService
from ailb_server.api.tenant_service import TenantService
from ailb_server.api.usage_service import UsageService
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.routing.catalogue import Catalogue
from ailb_server.server import Register
from ailb_server.telemetry.metrics import Metrics
from marchproxy import module_pb2_grpc


def core_services(
    pipeline: ChatPipeline,
    messages: AnthropicService,
    catalogue: Catalogue,
    metrics: Metrics,
    health: HealthService,
    stats: StatsService,
) -> Sequence[Register]:
    """What every instance serves."""
    return (
        partial(anthropic_service_pb2_grpc.add_AnthropicServiceServicer_to_server, messages),
        partial(
            openai_service_pb2_grpc.add_OpenAIServiceServicer_to_server, OpenAIService(pipeline)
        ),
        partial(chat_service_pb2_grpc.add_ChatServiceServicer_to_server, ChatService(pipeline)),
        partial(
            embedding_service_pb2_grpc.add_EmbeddingServiceServicer_to_server,
            EmbeddingService(pipeline),
        ),
        partial(model_service_pb2_grpc.add_ModelServiceServicer_to_server, ModelService(catalogue)),
        partial(
            metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, MetricsService(metrics)
        ),
        partial(health_service_pb2_grpc.add_HealthServiceServicer_to_server, health),
        partial(stats_service_pb2_grpc.add_StatsServiceServicer_to_server, stats),
    )


def memory_services(memory: MemoryService) -> Sequence[Register]:
    """What reads and deletes conversations."""
    return (partial(memory_service_pb2_grpc.add_MemoryServiceServicer_to_server, memory),)


def knowledge_services(knowledge: KnowledgeService) -> Sequence[Register]:
    """What serves collections, documents and searches."""
    return (partial(knowledge_service_pb2_grpc.add_KnowledgeServiceServicer_to_server, knowledge),)


def access_services(keys: KeyAdministration, tenants: TenantAdministration) -> Sequence[Register]:
    """What is for admins."""
    return (
        partial(api_key_service_pb2_grpc.add_ApiKeyServiceServicer_to_server, ApiKeyService(keys)),
        partial(
            tenant_service_pb2_grpc.add_TenantServiceServicer_to_server, TenantService(tenants)
        ),
    )


def usage_services(usage: UsageService) -> Sequence[Register]:
    """What tells of the usage ledger."""
    return (partial(usage_service_pb2_grpc.add_UsageServiceServicer_to_server, usage),)


def module_services(module: ModuleService) -> Sequence[Register]:
    """What MarchProxy's load balancer calls."""
    return (partial(module_pb2_grpc.add_ModuleServiceServicer_to_server, module),)
