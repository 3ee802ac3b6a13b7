"""The stage of an import that stores documents, several in one transaction."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from ailb_server.domain.embedding import Vector
from ailb_server.domain.errors import AilbError
from ailb_server.domain.imports import Done, ImportItem
from ailb_server.domain.knowledge import Collection, NewChunk, NewDocument
from ailb_server.knowledge.import_queue import ImportQueue, WorkRules
from ailb_server.knowledge.import_stages import Cut, Line
from ailb_server.knowledge.ports import KnowledgeStore

_SETTLE_S = 1.0


@dataclass(slots=True)
class StoringStage:
    """Takes whole documents from a line and stores them as they come. `fault` is the first one of
    a document that could not be stored; the others are."""

    store: KnowledgeStore
    queue: ImportQueue
    rules: WorkRules
    worker: UUID
    collection: Collection
    fault: Exception | None = None

    async def run(self, whole: Line) -> None:
        """Raises StorageUnavailableError, NotFoundError, EmbeddingMismatchError."""
        ended = False
        while not ended:
            cuts, ended = await self._next(whole)
            if cuts:
                await self._store(cuts)

    async def _next(self, whole: Line) -> tuple[Sequence[Cut], bool]:
        """Those that are there by now, at least one; and whether they are the last."""
        cuts: list[Cut] = []
        chunks = 0
        while not cuts or (
            not whole.empty()
            and chunks < self.rules.stored_chunks
            and len(cuts) < self.rules.stored_documents
        ):
            cut = await whole.get()
            if cut is None:
                return cuts, True
            cuts.append(cut)
            chunks += len(cut.document.pieces)
        return cuts, False

    async def _store(self, cuts: Sequence[Cut]) -> None:
        """What the worker lost is left out: whoever has it may be storing a newer version."""
        ids = [cut.item.id for cut in cuts]
        tenant_id = self.collection.tenant_id
        kept = await self.queue.renew(tenant_id, self.worker, ids, self.rules.lease_s)
        done: dict[ImportItem, Done] = {}
        own = [cut for cut in cuts if cut.item.id in kept]
        storing = asyncio.create_task(self._replace_all(own, done))
        try:
            await asyncio.shield(storing)
        finally:
            # Also when this work is given up: what is stored by then is done.
            await _settled(storing)
            await self.queue.finish(self.worker, done)

    async def _replace_all(self, cuts: Sequence[Cut], done: dict[ImportItem, Done]) -> None:
        """Tells in `done` what is stored."""
        if not cuts:
            return
        try:
            await self._replace(cuts, done)
        except AilbError:
            raise
        except Exception as error:  # noqa: BLE001 - one of them is at fault; the others need not wait
            if len(cuts) > 1:
                for cut in cuts:
                    await self._replace_all([cut], done)
            else:
                self.fault = self.fault or error

    async def _replace(self, cuts: Sequence[Cut], done: dict[ImportItem, Done]) -> None:
        await self.store.replace_documents(
            self.collection, [(_document(cut), _chunks(cut)) for cut in cuts]
        )
        for cut in cuts:
            done[cut.item] = Done("imported", passages=len(cut.document.pieces))


async def _settled(storing: asyncio.Task[None]) -> None:
    """Lets it end within a moment, or cancels it; how it ended is another's matter."""
    await asyncio.wait((storing,), timeout=_SETTLE_S)
    storing.cancel()
    await asyncio.wait((storing,))
    if not storing.cancelled():
        storing.exception()


def _document(cut: Cut) -> NewDocument:
    given = cut.item.document
    return NewDocument(
        id=given.id,
        title=given.title or cut.document.title or given.id,
        sha256=given.sha256,
        characters=cut.document.characters,
        source=given.source,
        metadata=given.metadata,
    )


def _chunks(cut: Cut) -> Sequence[NewChunk]:
    pieces = cut.document.pieces
    vectors: Sequence[Vector | None] = cut.vectors or [None] * len(pieces)
    return [
        NewChunk(piece.text, vector, piece.overlap)
        for piece, vector in zip(pieces, vectors, strict=True)
    ]
