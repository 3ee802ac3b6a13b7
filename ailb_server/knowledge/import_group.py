"""The work on a few documents of one tenant: read, cut, embed, store."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from ailb_server.domain.embedding import Embedder, Vector
from ailb_server.domain.errors import (
    EmbedderUnavailableError,
    EmbeddingMismatchError,
    NotFoundError,
)
from ailb_server.domain.imports import Done, ImportItem, is_amended, same_content
from ailb_server.domain.knowledge import Collection, NewChunk, NewDocument
from ailb_server.knowledge.extraction.content_types import ContentType, content_type
from ailb_server.knowledge.extraction.cutting import CutDocument, CutRules
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.import_queue import Extraction, ImportQueue, WorkRules
from ailb_server.knowledge.ports import KnowledgeStore


@dataclass(slots=True)
class _Cut:
    """A document in pieces, whose vectors come one by one."""

    item: ImportItem
    document: CutDocument
    vectors: list[Vector] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class GroupWork:
    """What every group's work needs. Without `embedder`, documents are found by words only."""

    store: KnowledgeStore
    queue: ImportQueue
    extraction: Extraction
    embedder: Embedder | None
    rules: WorkRules

    async def run(self, worker: UUID, items: Sequence[ImportItem]) -> None:
        """Finishes every item, collection by collection.

        Raises EmbedderUnavailableError, StorageUnavailableError, ExtractionUnavailableError, and
        EmbeddingMismatchError if a collection was embedded anew meanwhile; what was not finished
        by then may be done again from its beginning.
        """
        for name in dict.fromkeys(item.collection for item in items):
            own = [item for item in items if item.collection == name]
            try:
                await self._collection(worker, name, own)
            except NotFoundError:
                # Deleted meanwhile, and its imports with it.
                continue

    async def _collection(self, worker: UUID, name: str, items: Sequence[ImportItem]) -> None:
        collection = await self.store.collection(items[0].tenant_id, name)
        try:
            collection, embedder = await self._agreed(collection)
        except EmbeddingMismatchError as error:
            for item in items:
                await self.queue.finish(item, worker, Done("failed", str(error)))
            return
        cuts = [cut for item in items if (cut := await self._cut(worker, collection, item))]
        async for whole in self._embedded(embedder, cuts):
            await self._store(worker, collection, whole)

    async def _agreed(self, collection: Collection) -> tuple[Collection, Embedder | None]:
        """The collection with the space of its vectors, and who makes them, if anyone now."""
        embedder = self.embedder
        if embedder is None:
            return collection, None
        space = embedder.space
        if space is None:
            raise EmbedderUnavailableError("The embedder has not started yet.")
        if collection.next_space == space:
            # It is being embedded anew: that finds what is new, too.
            return collection, None
        return await self.store.adopt_space(collection, space), embedder

    async def _cut(self, worker: UUID, collection: Collection, item: ImportItem) -> _Cut | None:
        """None if that ends the work on it already."""
        if item.attempts > self.rules.attempts:
            reason = f"The document was given up after {self.rules.attempts} tries."
            await self.queue.finish(item, worker, Done("failed", reason))
            return None
        stored = await self.queue.stored(item)
        if stored is not None and same_content(item.document, stored):
            if is_amended(item.document, stored):
                await self.queue.amend(item)
            # On a second try, it was the first one that stored it.
            done = Done("unchanged" if item.attempts == 1 else "imported")
            await self.queue.finish(item, worker, done)
            return None
        rules = CutRules(collection.chunk_size, collection.chunk_overlap)
        try:
            kind = _kind(item)
            return _Cut(item, await self.extraction.cut_up(item.document.content, kind, rules))
        except UnreadableError as error:
            await self.queue.finish(item, worker, Done("failed", f"The document {error}."))
            return None

    async def _embedded(
        self, embedder: Embedder | None, cuts: Sequence[_Cut]
    ) -> AsyncIterator[_Cut]:
        """Each as soon as it has all of its vectors; texts of several go into one batch."""
        if embedder is None:
            for cut in cuts:
                yield cut
            return
        waiting = list(cuts)
        for batch in _batches(cuts, self.rules.batch_texts):
            texts = [cut.document.pieces[index].text for cut, index in batch]
            vectors = await embedder.embed(texts)
            for (cut, _), vector in zip(batch, vectors, strict=True):
                cut.vectors.append(vector)
            while waiting and len(waiting[0].vectors) == len(waiting[0].document.pieces):
                yield waiting.pop(0)

    async def _store(self, worker: UUID, collection: Collection, cut: _Cut) -> None:
        item = cut.item
        # Whoever has it by now may be storing a newer version after it.
        if not await self.queue.renew(item.tenant_id, worker, [item.id], self.rules.lease_s):
            return
        given, pieces = item.document, cut.document.pieces
        document = NewDocument(
            id=given.id,
            title=given.title or cut.document.title or given.id,
            sha256=given.sha256,
            characters=cut.document.characters,
            source=given.source,
            metadata=given.metadata,
        )
        vectors: Sequence[Vector | None] = cut.vectors or [None] * len(pieces)
        chunks = [
            NewChunk(piece.text, vector, piece.overlap)
            for piece, vector in zip(pieces, vectors, strict=True)
        ]
        await self.store.replace_document(collection, document, chunks)
        await self.queue.finish(item, worker, Done("imported", passages=len(chunks)))


def _kind(item: ImportItem) -> ContentType:
    kind = content_type(item.document.content_type)
    if kind is None:
        raise UnreadableError("is of a type that this instance does not know")
    return kind


def _batches(cuts: Sequence[_Cut], size: int) -> Iterator[list[tuple[_Cut, int]]]:
    batch: list[tuple[_Cut, int]] = []
    for cut in cuts:
        for index in range(len(cut.document.pieces)):
            batch.append((cut, index))
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch
