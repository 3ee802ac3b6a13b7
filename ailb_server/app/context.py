"""Memory and knowledge, put together, over the embedders that they share."""

from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from ailb_server.api.knowledge_service import KnowledgeService
from ailb_server.app.embedding import Embedders
from ailb_server.app.importing import open_importing
from ailb_server.app.knowledge import open_knowledge
from ailb_server.app.memory import open_memory
from ailb_server.app.services import knowledge_services, memory_services
from ailb_server.domain.health import PartHealth
from ailb_server.pipeline.context import ContextStage
from ailb_server.server import Register
from ailb_server.settings import Settings
from ailb_server.storage.pool import Store
from ailb_server.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class OpenContext:
    """`stage` is for the pipeline, `health` tells of the parts, `services` are to be served."""

    stage: ContextStage
    services: Sequence[Register]
    health: Sequence[Callable[[], PartHealth]]


async def open_context(
    settings: Settings,
    store: Store,
    database_url: str,
    embedders: Embedders,
    metrics: Metrics,
    closing: AsyncExitStack,
) -> OpenContext:
    """The services are there even for what is switched off: what was stored can be read and
    deleted."""
    memory = open_memory(settings, store, embedders, metrics.registry, closing)
    given = embedders if embedders.present else None
    knowledge = await open_knowledge(
        settings, store, database_url, given, metrics.knowledge, closing
    )
    bulk = given.bulk if given else None
    imports = open_importing(store, knowledge.store, bulk, closing, reindexing=knowledge.reindexing)
    service = KnowledgeService(knowledge.store, knowledge.retriever, knowledge.reindexing, imports)
    return OpenContext(
        stage=ContextStage(
            memory.memory if settings.enable_memory else None,
            knowledge.chat if settings.enable_rag else None,
        ),
        services=(*memory_services(memory.service), *knowledge_services(service)),
        health=(embedders.health, memory.health),
    )
