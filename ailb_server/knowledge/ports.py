"""What knowledge asks of a store.

Every method raises StorageUnavailableError in an outage. A `Collection` is only got by its tenant's
id and name, and every statement checks that both still belong together.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from ailb_server.domain.chat import Json
from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.knowledge import (
    Collection,
    DocumentRecord,
    Near,
    NewChunk,
    NewCollection,
    NewDocument,
    StoredChunk,
    TellingWords,
    Unembedded,
    Word,
    WordQuery,
)


class CollectionStore(Protocol):
    """Collections by name."""

    async def create_collection(self, tenant_id: int, new: NewCollection) -> Collection:
        """An empty one. Raises AlreadyExistsError."""
        ...

    async def collection(self, tenant_id: int, name: str) -> Collection:
        """As it is now. Raises NotFoundError."""
        ...


class KnowledgeStore(CollectionStore, Protocol):
    """What importing writes."""

    async def adopt_space(self, collection: Collection, space: EmbeddingSpace) -> Collection:
        """Records the space of the vectors to come if the collection has none yet.

        Raises EmbeddingMismatchError if it has another one, NotFoundError if it is gone.
        """
        ...

    async def stored_hashes(self, collection: Collection, ids: Sequence[str]) -> Mapping[str, str]:
        """The `sha256` of each of these documents that is stored, by id."""
        ...

    async def replace_documents(
        self, collection: Collection, documents: Sequence[tuple[NewDocument, Sequence[NewChunk]]]
    ) -> Sequence[DocumentRecord]:
        """Stores documents, whose ids differ, or puts them in the place of those with their ids: a
        search finds a document's old chunks or its new ones, never both, never none. All or none
        of them; the collection's version grows.

        Raises NotFoundError if the collection is gone, EmbeddingMismatchError if its space is no
        longer the one in `collection`.
        """
        ...


class CatalogueStore(CollectionStore, Protocol):
    """What callers see and delete."""

    async def list_collections(
        self, tenant_id: int, after: str, limit: int
    ) -> Sequence[Collection]:
        """At most `limit` of those whose names come after `after`, by name."""
        ...

    async def delete_collection(self, tenant_id: int, name: str) -> None:
        """With all that it holds. Raises NotFoundError."""
        ...

    async def document(self, collection: Collection, document_id: str) -> DocumentRecord:
        """Raises NotFoundError."""
        ...

    async def list_documents(
        self, collection: Collection, after: str, limit: int
    ) -> Sequence[DocumentRecord]:
        """At most `limit` of those whose ids come after `after`, by id."""
        ...

    async def delete_document(self, collection: Collection, document_id: str) -> None:
        """With its chunks. Raises NotFoundError."""
        ...


class SearchStore(CollectionStore, Protocol):
    """What retrieval reads. `metadata` holds members that a document's must have; {}: any."""

    def snapshot(self) -> AbstractAsyncContextManager["SearchStore"]:
        """A store whose reads all see one moment; for one reader, and briefly."""
        ...

    async def collection_for(
        self, tenant_id: int, name: str, text: str
    ) -> tuple[Collection, TellingWords]:
        """The collection, and the text's words that tell most in it. Raises NotFoundError."""
        ...

    async def with_words(
        self,
        collection: Collection,
        sought: WordQuery,
        *,
        limit: int,
        metadata: Mapping[str, Json],
    ) -> Sequence[Word]:
        """Chunks with the words, the best first."""
        ...

    async def nearest(
        self, collection: Collection, vector: Vector, *, limit: int, metadata: Mapping[str, Json]
    ) -> Sequence[Near]:
        """The chunks most similar to the vector, the best first."""
        ...

    async def similarities(
        self, collection: Collection, vector: Vector, ids: Sequence[int]
    ) -> Mapping[int, float]:
        """Those of the chunks that have a vector, by id."""
        ...

    async def chunks(self, collection: Collection, ids: Sequence[int]) -> Sequence[StoredChunk]:
        """Those of the chunks that still are, in any order."""
        ...


class ReindexStore(CollectionStore, Protocol):
    """What embedding a collection anew reads and writes."""

    async def begin_reindex(self, collection: Collection, space: EmbeddingSpace) -> int:
        """The generation to fill with vectors of the space: a new one, one that was begun, or the
        one that serves if it is of this space. Raises NotFoundError."""
        ...

    async def unembedded(
        self, collection: Collection, generation: int, after: int, limit: int
    ) -> Sequence[Unembedded]:
        """Chunks without vector, by id, from above `after`."""
        ...

    async def embedded_count(self, collection: Collection, generation: int) -> int:
        """How many chunks have a vector."""
        ...

    async def add_vectors(
        self,
        collection: Collection,
        generation: int,
        space: EmbeddingSpace,
        vectors: Sequence[tuple[int, Vector]],
    ) -> None:
        """Stores chunks' vectors; a chunk that has one or is gone is passed over. Raises
        EmbeddingMismatchError if the generation is being filled from another space by now."""
        ...

    async def finish_reindex(self, collection: Collection, space: EmbeddingSpace) -> bool:
        """From now on searches find the new vectors. False: there are chunks without, again.
        Raises NotFoundError, EmbeddingMismatchError."""
        ...
