"""The work on a few documents of one tenant: read, cut, embed, store."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TypeVar
from uuid import UUID

from ailb_server.domain.embedding import Embedder, Vector
from ailb_server.domain.errors import (
    EmbedderUnavailableError,
    EmbeddingMismatchError,
    NotFoundError,
)
from ailb_server.domain.imports import Done, ImportItem, StoredDocument, is_amended, same_content
from ailb_server.domain.knowledge import Collection, NewChunk, NewDocument
from ailb_server.knowledge.extraction.content_types import content_type
from ailb_server.knowledge.extraction.cutting import CutDocument, CutRules
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.import_queue import Extraction, ImportQueue, WorkRules
from ailb_server.knowledge.ports import KnowledgeStore

T = TypeVar("T")

_SETTLE_S = 1.0


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
            await self.queue.finish(worker, dict.fromkeys(items, Done("failed", str(error))))
            return
        cuts = await self._cuts(worker, collection, items)
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

    async def _cuts(
        self, worker: UUID, collection: Collection, items: Sequence[ImportItem]
    ) -> Sequence[_Cut]:
        """Those to be stored. Ends the work on the others: given up, unchanged, broken."""
        stored = await self.queue.stored(items)
        cuts, done = [], {}
        for item in items:
            known = stored.get(item.id)
            if item.attempts > self.rules.attempts:
                reason = f"The document was given up after {self.rules.attempts} tries."
                done[item] = Done("failed", reason)
            elif known is not None and same_content(item.document, known):
                done[item] = await self._unchanged(item, known)
            else:
                try:
                    cuts.append(await self._cut(collection, item))
                except UnreadableError as error:
                    done[item] = Done("failed", f"The document {error}.")
        await self.queue.finish(worker, done)
        return cuts

    async def _unchanged(self, item: ImportItem, stored: StoredDocument) -> Done:
        if is_amended(item.document, stored):
            await self.queue.amend(item)
        # On a second try, it was the first one that stored it.
        return Done("unchanged" if item.attempts == 1 else "imported")

    async def _cut(self, collection: Collection, item: ImportItem) -> _Cut:
        kind = content_type(item.document.content_type)
        if kind is None:
            raise UnreadableError("is of a type that this instance does not know")
        rules = CutRules(collection.chunk_size, collection.chunk_overlap)
        return _Cut(item, await self.extraction.cut_up(item.document.content, kind, rules))

    async def _embedded(
        self, embedder: Embedder | None, cuts: Sequence[_Cut]
    ) -> AsyncIterator[Sequence[_Cut]]:
        """As soon as they have all of their vectors; texts of several go into one batch."""
        if embedder is None:
            yield cuts
            return
        waiting = list(cuts)
        for batch in _batches(cuts, self.rules.batch_texts):
            texts = [cut.document.pieces[index].text for cut, index in batch]
            vectors = await embedder.embed(texts)
            for (cut, _), vector in zip(batch, vectors, strict=True):
                cut.vectors.append(vector)
            whole = list(takewhile(_is_whole, waiting))
            del waiting[: len(whole)]
            if whole:
                yield whole

    async def _store(self, worker: UUID, collection: Collection, cuts: Sequence[_Cut]) -> None:
        """What the worker lost is left out: whoever has it may be storing a newer version."""
        if not cuts:
            return
        ids = [cut.item.id for cut in cuts]
        tenant_id = collection.tenant_id
        kept = await self.queue.renew(tenant_id, worker, ids, self.rules.lease_s)
        places = asyncio.Semaphore(self.rules.stored_at_once)
        storing = [
            asyncio.create_task(self._replace(collection, cut, places))
            for cut in cuts
            if cut.item.id in kept
        ]
        try:
            await asyncio.gather(*map(asyncio.shield, storing))
        finally:
            # Also when this work is given up: what is stored by then is done.
            await self.queue.finish(worker, dict(await _settled(storing)))

    async def _replace(
        self, collection: Collection, cut: _Cut, places: asyncio.Semaphore
    ) -> tuple[ImportItem, Done]:
        given, pieces = cut.item.document, cut.document.pieces
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
        async with places:
            await self.store.replace_document(collection, document, chunks)
        return cut.item, Done("imported", passages=len(chunks))


async def _settled(tasks: Sequence[asyncio.Task[T]]) -> Sequence[T]:
    """The results of those that succeed within a moment; the others are cancelled."""
    if not tasks:
        return ()
    _, late = await asyncio.wait(tasks, timeout=_SETTLE_S)
    for task in late:
        task.cancel()
    if late:
        await asyncio.wait(late)
    return [task.result() for task in tasks if not task.cancelled() and not task.exception()]


def _is_whole(cut: _Cut) -> bool:
    return len(cut.vectors) == len(cut.document.pieces)


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
