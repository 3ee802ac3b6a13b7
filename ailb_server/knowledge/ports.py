"""What knowledge asks of a store.

Every method raises StorageUnavailableError in an outage. A `Collection` is only got by its tenant's
id and name, and every statement checks that both still belong together.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.knowledge.values import (
    Collection,
    DocumentRecord,
    NewChunk,
    NewCollection,
    NewDocument,
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

    async def replace_document(
        self, collection: Collection, document: NewDocument, chunks: Sequence[NewChunk]
    ) -> DocumentRecord:
        """Stores a document, or puts it in the place of the one with its id: a search finds the
        old chunks or the new ones, never both, never none. The collection's version grows.

        Raises NotFoundError if the collection is gone, EmbeddingMismatchError if its space is no
        longer the one in `collection`.
        """
        ...
