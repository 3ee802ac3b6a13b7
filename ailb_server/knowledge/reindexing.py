"""A collection embedded anew by the configured model, while its old vectors serve."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.embedding import Embedder, EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.knowledge import Collection
from ailb_server.knowledge.ports import ReindexStore

_BATCH = 64
_EMBED_TRIES = 5
_PAUSE_S = 1.0
# Each round embeds what was imported during the one before.
_ROUNDS = 100


class IndexBuilder(Protocol):
    """Makes the index of a collection's vectors before they serve."""

    async def build(self, collection_id: int, generation: int, dimension: int) -> None:
        """Does nothing where there are too few. Raises StorageUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a collection's chunks have their vector."""

    done: int
    total: int


class Reindexing:
    """Embeds collections anew. What breaks off goes on where it was when it is asked for again."""

    def __init__(
        self,
        store: ReindexStore,
        embedder: Embedder | None,
        indexes: IndexBuilder,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._indexes = indexes
        self._sleep = sleep

    async def run(self, tenant_id: int, name: str) -> AsyncGenerator[Progress]:
        """Tells how far it is, at first and after each batch; ends when the new vectors serve.

        If the collection is of the configured model already, chunks without vector get theirs.
        Raises NotFoundError, EmbedderUnavailableError, StorageUnavailableError, and
        EmbeddingMismatchError if it is being embedded by yet another model meanwhile.
        """
        embedder, space = self._ready()
        collection = await self._store.collection(tenant_id, name)
        generation = await self._store.begin_reindex(collection, space)
        done = await self._store.embedded_count(collection, generation)
        total = max(done, collection.passage_count)
        yield Progress(done, total)
        for _ in range(_ROUNDS):
            async for added in self._embed_missing(collection, generation, embedder, space):
                done += added
                yield Progress(min(done, total), total)
            if generation != collection.generation:
                await self._indexes.build(collection.id, generation, space.dimension)
            if await self._store.finish_reindex(collection, space):
                yield Progress(total, total)
                return
        raise EmbedderUnavailableError(
            f"Imports into `{name}` outrun its reindexing. Run it again when they are done."
        )

    def _ready(self) -> tuple[Embedder, EmbeddingSpace]:
        embedder = self._embedder
        if embedder is None:
            raise EmbedderUnavailableError("No embedder is configured: see EMBEDDING_BACKEND.")
        if embedder.space is None:
            raise EmbedderUnavailableError("The embedder is not ready yet.", retry_after_s=5)
        return embedder, embedder.space

    async def _embed_missing(
        self, collection: Collection, generation: int, embedder: Embedder, space: EmbeddingSpace
    ) -> AsyncIterator[int]:
        after = 0
        while batch := await self._store.unembedded(collection, generation, after, _BATCH):
            vectors = await self._embed(embedder, [chunk.text for chunk in batch])
            ids = [chunk.chunk_id for chunk in batch]
            pairs = list(zip(ids, vectors, strict=True))
            await self._store.add_vectors(collection, generation, space, pairs)
            after = ids[-1]
            yield len(batch)

    async def _embed(self, embedder: Embedder, texts: Sequence[str]) -> list[Vector]:
        for _ in range(_EMBED_TRIES - 1):
            try:
                return await embedder.embed(texts)
            except EmbedderUnavailableError:
                await self._sleep(_PAUSE_S)
        return await embedder.embed(texts)
