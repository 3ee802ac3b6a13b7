"""The work on a few documents of one tenant: read, cut, embed, store."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from ailb_server.domain.embedding import Embedder
from ailb_server.domain.errors import EmbeddingMismatchError, NotFoundError
from ailb_server.domain.imports import Done, ImportItem, StoredDocument, is_amended, same_content
from ailb_server.domain.knowledge import Collection
from ailb_server.knowledge.extraction.content_types import content_type
from ailb_server.knowledge.extraction.cutting import CutRules
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.import_embedding import EmbeddingStage, pass_on
from ailb_server.knowledge.import_queue import Extraction, ImportQueue, WorkRules
from ailb_server.knowledge.import_stages import Cut, Line, together
from ailb_server.knowledge.import_storing import StoringStage
from ailb_server.knowledge.ports import KnowledgeStore


@dataclass(frozen=True, slots=True)
class GroupWork:
    """What every group's work needs. Without `embedder`, documents are found by words only; before
    it has started too, and `without_vectors` is told the tenant and the collection: a model that
    cannot be fetched must not hold them up."""

    store: KnowledgeStore
    queue: ImportQueue
    extraction: Extraction
    embedder: Embedder | None
    rules: WorkRules
    without_vectors: Callable[[int, str], None] = lambda _tenant_id, _collection: None

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
        """Three stages at once: while documents are stored, others are embedded and cut."""
        tenant_id = items[0].tenant_id
        collection = await self.store.collection(tenant_id, name)
        starting = self.embedder is not None and self.embedder.space is None
        try:
            collection, embedder = await self._agreed(collection)
        except EmbeddingMismatchError as error:
            await self.queue.finish(worker, dict.fromkeys(items, Done("failed", str(error))))
            return
        cut: Line = asyncio.Queue(self.rules.batch_texts)
        whole: Line = asyncio.Queue(self.rules.stored_documents)
        storing = StoringStage(self.store, self.queue, self.rules, worker, collection)
        await together(
            self._cuts(worker, collection, items, cut),
            EmbeddingStage(embedder, cut, whole, self.rules).run()
            if embedder
            else pass_on(cut, whole),
            storing.run(whole),
        )
        if starting:
            self.without_vectors(tenant_id, name)
        if storing.fault is not None:
            raise storing.fault

    async def _agreed(self, collection: Collection) -> tuple[Collection, Embedder | None]:
        """The collection with the space of its vectors, and who makes them, if anyone now."""
        embedder = self.embedder
        space = embedder.space if embedder is not None else None
        if embedder is None or space is None:
            return collection, None
        if collection.next_space == space:
            # It is being embedded anew: that finds what is new, too.
            return collection, None
        return await self.store.adopt_space(collection, space), embedder

    async def _cuts(
        self, worker: UUID, collection: Collection, items: Sequence[ImportItem], cut: Line
    ) -> None:
        """Those to be stored. Ends the work on the others: given up, unchanged, broken."""
        stored = await self.queue.stored(items)
        done = {}
        for item in items:
            known = stored.get(item.id)
            if item.attempts > self.rules.attempts:
                reason = f"The document was given up after {self.rules.attempts} tries."
                done[item] = Done("failed", reason)
            elif known is not None and same_content(item.document, known):
                done[item] = await self._unchanged(item, known)
            else:
                try:
                    await cut.put(await self._cut(collection, item))
                except UnreadableError as error:
                    done[item] = Done("failed", f"The document {error}.")
        await cut.put(None)
        await self.queue.finish(worker, done)

    async def _unchanged(self, item: ImportItem, stored: StoredDocument) -> Done:
        if is_amended(item.document, stored):
            await self.queue.amend(item)
        # On a second try, it was the first one that stored it.
        return Done("unchanged" if item.attempts == 1 else "imported")

    async def _cut(self, collection: Collection, item: ImportItem) -> Cut:
        kind = content_type(item.document.content_type)
        if kind is None:
            raise UnreadableError("is of a type that this instance does not know")
        rules = CutRules(collection.chunk_size, collection.chunk_overlap)
        return Cut(item, await self.extraction.cut_up(item.document.content, kind, rules))
