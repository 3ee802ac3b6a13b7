"""Collections, documents and their chunks, as the store tells them and is given them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from ailb_server.domain.chat import Json
from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbeddingMismatchError


@dataclass(frozen=True, slots=True)
class NewCollection:
    """A collection to make; the fields as `Collection` has them, checked."""

    name: str
    description: str = ""
    space: EmbeddingSpace | None = None
    chunk_size: int = 1000
    chunk_overlap: int = 100


@dataclass(frozen=True, slots=True)
class Collection:
    """A collection of a tenant, as it was when it was read.

    `id` and `tenant_id` are rows; `space` is that of its vectors, None until it has any;
    `generation` counts its spaces; `next_space` is the one it is being embedded anew into, None if
    it is not; `chunk_size` and `chunk_overlap` are in characters; `version`
    counts its changes.
    """

    id: int
    tenant_id: int
    name: str
    description: str
    space: EmbeddingSpace | None
    generation: int
    chunk_size: int
    chunk_overlap: int
    version: int
    document_count: int
    passage_count: int
    created_at: datetime
    updated_at: datetime
    next_space: EmbeddingSpace | None = None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to store.

    `id` is the importer's, unique within the collection, 1 to 512 characters; `sha256` is in hex,
    of whatever makes a document another one; `characters` is the length of its text.
    """

    id: str
    title: str
    sha256: str
    characters: int
    source: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class NewChunk:
    """A piece of a document to store, in the document's order.

    `text` begins with `overlap` characters that repeat the end of the piece before, so that the
    document reads `a.text + b.text[b.overlap:] + …`; with an overlap of 0, a gap of white space
    may have been left out between the two. `vector` is that of `text`, of the collection's space;
    None: to be found by its words until the collection is reindexed.
    """

    text: str
    vector: Vector | None = None
    overlap: int = 0


@dataclass(frozen=True, slots=True)
class DocumentRecord:
    """A document that is stored; the fields as `NewDocument` has them."""

    id: str
    title: str
    source: str
    metadata: Mapping[str, Json]
    sha256: str
    characters: int
    passage_count: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class TellingWords:
    """The stems of a text's words that tell most: those that the fewest chunks have.

    `others` is what the remaining words would weigh: they are too common, or too many, to seek.
    """

    stems: Sequence[str]
    others: float = 0.0


@dataclass(frozen=True, slots=True)
class WordQuery:
    """Chunks with all words of `text` are sought, and if they are fewer than `enough`, then those
    with some of the `telling` ones: at least the `share`, 0 to 1, of what all words weigh."""

    text: str
    enough: int
    telling: TellingWords
    share: float = 0.0


@dataclass(frozen=True, slots=True)
class Word:
    """A chunk that has the query's words; a search tells them best first."""

    chunk_id: int
    document_row: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Near:
    """A chunk and its cosine similarity to the query."""

    chunk_id: int
    document_row: int
    ordinal: int
    similarity: float


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk with what a caller is told of its document."""

    chunk_id: int
    ordinal: int
    overlap: int
    text: str
    document_id: str
    title: str
    source: str
    metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Unembedded:
    """A chunk that has no vector of the generation asked for."""

    chunk_id: int
    text: str


def mismatch(collection: Collection, configured: EmbeddingSpace) -> EmbeddingMismatchError:
    """For a collection of another space than the configured embedder's."""
    return EmbeddingMismatchError(
        f"The collection `{collection.name}` was embedded by {_named(collection.space)}, but the"
        f" configured model is {_named(configured)}. Run `ailb rag reindex {collection.name}`, or"
        " configure the former model.",
        collection=collection.name,
    )


def _named(space: EmbeddingSpace | None) -> str:
    if space is None:
        return "no model"
    length = "" if space.normalised else ", not normalised"
    return f"{space.model} ({space.dimension} dimensions{length})"
