"""A gRPC server of knowledge alone, on a real store, with a fake embedder."""

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

from prometheus_client import CollectorRegistry

from ailb_server.api.edge import Edge
from ailb_server.api.knowledge_service import KnowledgeService
from ailb_server.app.embedding import Embedders
from ailb_server.app.importing import open_importing
from ailb_server.app.knowledge import open_knowledge
from ailb_server.app.services import knowledge_services
from ailb_server.domain.health import PartHealth
from ailb_server.server import GrpcServer
from ailb_server.settings import Settings
from ailb_server.storage.pool import Store
from ailb_server.telemetry.knowledge_metrics import KnowledgeMetrics
from tests.support.importing import FakeEmbedder, quick
from tests.support.loop_thread import LoopThread


class KnowledgeServer:
    """Runs within `with`, in another thread. `target` is where; `embedder` can be watched."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.embedder = FakeEmbedder()
        self.loop = LoopThread()
        self._closing = AsyncExitStack()
        self.target = ""

    def __enter__(self) -> Self:
        self.target = self.loop.run(self._start())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.loop.run(self._closing.aclose())
        self.loop.stop()

    async def _start(self) -> str:
        closing = self._closing
        store = Store(self._dsn, size=6)
        closing.push_async_callback(store.close)
        await store.open()
        metrics = KnowledgeMetrics(CollectorRegistry())
        settings = Settings.model_validate({})
        embedders = Embedders(self.embedder, self.embedder, lambda: PartHealth("embedder"))
        opened = await open_knowledge(settings, store, self._dsn, embedders, metrics, closing)
        imports = open_importing(store, opened.store, self.embedder, closing, quick())
        service = KnowledgeService(opened.store, opened.retriever, opened.reindexing, imports)
        server = GrpcServer(Edge(50), knowledge_services(service), max_calls=50)
        port = await server.start("127.0.0.1", 0)
        closing.push_async_callback(server.stop)
        return f"127.0.0.1:{port}"
