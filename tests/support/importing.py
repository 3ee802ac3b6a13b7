"""Imports on a real store, with an embedder that can be watched and fail."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from ailb_server.domain.embedding import Embedder, EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.imports import ImportStatus
from ailb_server.domain.knowledge import NewCollection
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.knowledge.extraction.process import ExtractionProcess, ExtractionRules
from ailb_server.knowledge.import_group import GroupWork
from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.import_worker import ImportWorker
from ailb_server.knowledge.importing import DocumentInput, Importing, IntakeRules
from ailb_server.storage.import_items import PostgresImportItems
from ailb_server.storage.imports import PostgresImports
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.pool import Store

SPACE = EmbeddingSpace("fake", 8)
PATIENCE_S = 20.0


@dataclass
class FakeEmbedder:
    """Vectors of a hash. `texts` are those it was given; it waits at `gate`, and fails if `down`.

    `cost_s` is what a text takes of a single worker's time.
    """

    space: EmbeddingSpace | None = SPACE
    down: bool = False
    cost_s: float = 0.0
    texts: list[str] = field(default_factory=list)
    calls: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self.gate.set()

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        self.calls += 1
        await self.gate.wait()
        if self.down:
            raise EmbedderUnavailableError("It is down.")
        if self.cost_s:
            async with self.busy:
                await asyncio.sleep(self.cost_s * len(texts))
        self.texts += texts
        return [_vector(text, self.space.dimension if self.space else 8) for text in texts]


def _vector(text: str, dimension: int) -> Vector:
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")
    vector = np.random.default_rng(seed).standard_normal(dimension).astype(np.float32)
    normalised: Vector = vector / np.linalg.norm(vector)
    return normalised


class Instance:
    """What one gateway has of imports. `work` runs its workers meanwhile."""

    def __init__(
        self,
        store: Store,
        embedder: Embedder | None,
        *,
        rules: WorkRules | None = None,
        intake: IntakeRules | None = None,
        extraction: ExtractionRules | None = None,
    ) -> None:
        self.knowledge = PostgresKnowledge(store)
        self.imports = PostgresImports(store)
        self.items = PostgresImportItems(store)
        self.extraction = ExtractionProcess(extraction)
        self.group = GroupWork(
            self.knowledge, self.items, self.extraction, embedder, rules or quick()
        )
        self.worker = ImportWorker(self.group, self.imports)
        self.importing = Importing(
            self.knowledge, self.imports, self.worker.wake, intake or IntakeRules(poll_s=0.01)
        )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            task = asyncio.create_task(self.worker.run())
            stack.push_async_callback(ended, task)
            yield

    async def collection(self, name: str = "docs", who: Principal = ANYONE) -> None:
        await self.knowledge.create_collection(who.tenant_id, NewCollection(name))

    async def start(
        self, *documents: DocumentInput, collection: str = "docs", who: Principal = ANYONE
    ) -> ImportStatus:
        return await self.importing.start(who, collection, documents)

    async def finished(self, status: ImportStatus, who: Principal = ANYONE) -> ImportStatus:
        async with asyncio.timeout(PATIENCE_S):
            async for told in self.importing.watch(who, status.id):
                status = told
        assert status.finished_at is not None
        return status

    async def done(
        self, *documents: DocumentInput, collection: str = "docs", who: Principal = ANYONE
    ) -> ImportStatus:
        """Imports and waits."""
        started = await self.start(*documents, collection=collection, who=who)
        return await self.finished(started, who)


def quick(**others: float) -> WorkRules:
    """Rules that do not let a test wait."""
    rules = WorkRules(lease_s=5, first_wait_s=0.02, longest_wait_s=0.1, idle_s=0.1)
    return WorkRules(**{**{n: getattr(rules, n) for n in rules.__slots__}, **others})


def text(id_: str, body: str | bytes = "Some words.", **others: object) -> DocumentInput:
    return DocumentInput(id=id_, body=body, **others)  # type: ignore[arg-type]


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels it, and waits for its end."""
    task.cancel()
    await asyncio.wait((task,))


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Polls; fails after PATIENCE_S."""
    end = time.monotonic() + PATIENCE_S
    while not await condition():
        assert time.monotonic() < end, "it did not come true in time"
        await asyncio.sleep(0.01)
