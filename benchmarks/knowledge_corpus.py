"""A database of collections of very different sizes, made of nothing, the same each time."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import asyncpg
import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from pgvector.asyncpg import register_vector

from ailb_server.domain.embedding import EmbeddingSpace, Vector

SPACE = EmbeddingSpace("synthetic", 384)
Floats = npt.NDArray[np.float32]

_VOCABULARY = 20_000
_TOPIC_WORDS = 400
_WORDS = 60
_CHUNKS_OF_DOCUMENT = 10
_TENANT = 1


@dataclass(frozen=True, slots=True)
class SizeClass:
    """So many collections of so many chunks each."""

    collections: int
    chunks: int


# 1,000 collections, 100,000 chunks.
CLASSES = (
    SizeClass(1, 30_000),
    SizeClass(2, 8_000),
    SizeClass(5, 3_000),
    SizeClass(20, 600),
    SizeClass(100, 100),
    SizeClass(828, 20),
    SizeClass(44, 10),
)

_INSERT = """
INSERT INTO collections (id, tenant_id, name, embedding_model, embedding_dimension,
                         embedding_normalised, chunk_size, chunk_overlap, document_count,
                         passage_count)
OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, 1000, 100, $7, $8)
"""


class Corpus:
    """Draws collections. Vectors have a spectrum that falls as that of text embeddings does, and
    lie about their collection's and their document's centre; words are Zipf's, some the topic's.
    """

    def __init__(self, seed: int = 7) -> None:
        self._random = np.random.default_rng(seed)
        dimensions = np.arange(1, SPACE.dimension + 1)
        self._spectrum = (dimensions**-0.35).astype(np.float32)
        weights = 1.0 / np.arange(1, _VOCABULARY + 1)
        self._cumulated = np.cumsum(weights / weights.sum())

    def vectors(self, chunks: int) -> Floats:
        """A collection's, one row for each chunk."""
        documents = -(-chunks // _CHUNKS_OF_DOCUMENT)
        topics = max(1, documents // 20)
        centres = self._draw(1) * 0.6 + self._draw(topics) * 0.6
        of_documents = centres[self._random.integers(0, topics, documents)]
        of_documents = of_documents + self._draw(documents) * 0.6
        rows = np.repeat(of_documents, _CHUNKS_OF_DOCUMENT, axis=0)[:chunks]
        return unit(rows + self._draw(chunks) * 0.8)

    def texts(self, chunks: int) -> list[str]:
        """A collection's: a fifth of the words is the topic's."""
        topic = self._random.integers(0, _VOCABULARY, _TOPIC_WORDS)
        ranks = np.searchsorted(self._cumulated, self._random.random((chunks, _WORDS)))
        of_topic = self._random.random((chunks, _WORDS)) < 0.2  # noqa: PLR2004
        ranks = np.where(
            of_topic, topic[self._random.integers(0, _TOPIC_WORDS, ranks.shape)], ranks
        )
        return [" ".join(map(word, row)) for row in ranks]

    def query(self, vector: Vector) -> Vector:
        """What asks for a chunk: as near to it as questions are to their answers, 0.65."""
        near: Vector = unit(vector[None] + unit(self._draw(1)) * 1.17)[0]
        return near

    def choose(self, values: Sequence[str], n: int) -> list[str]:
        """Some of the values."""
        return [values[i] for i in self._random.integers(0, len(values), n)]

    def index(self, n: int) -> int:
        """A number below `n`."""
        return int(self._random.integers(0, n))

    def _draw(self, n: int) -> Floats:
        drawn = self._random.standard_normal((n, SPACE.dimension), dtype=np.float32)
        spread: Floats = drawn * self._spectrum / np.float32(np.linalg.norm(self._spectrum))
        return spread


def unit(rows: Floats) -> Floats:
    """Each row of the length 1."""
    scaled: Floats = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def word(rank: int) -> str:
    """A made-up word; no stemmer changes it, no list of stop words has it."""
    letters = "bcdfghjklmnpqrtvwxz"
    text, rest = "", int(rank) + 19
    while rest:
        rest, place = divmod(rest, 19)
        text += letters[place] + "ao"[place % 2]
    return text + "k"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A collection that is in the database."""

    id: int
    name: str
    first_chunk: int
    vectors: Floats
    texts: Sequence[str]


async def load(dsn: str, corpus: Corpus) -> dict[SizeClass, list[Loaded]]:
    """All collections of CLASSES, in one COPY for each table and collection."""
    connection = await asyncpg.connect(dsn)
    try:
        await register_vector(connection)
        loaded: dict[SizeClass, list[Loaded]] = {size: [] for size in CLASSES}
        number, document, chunk = 0, 1, 1
        for size in CLASSES:
            for _ in range(size.collections):
                number += 1
                made = Loaded(
                    number,
                    f"c{number}",
                    chunk,
                    corpus.vectors(size.chunks),
                    corpus.texts(size.chunks),
                )
                await _copy(connection, made, document)
                loaded[size].append(made)
                document += -(-size.chunks // _CHUNKS_OF_DOCUMENT)
                chunk += size.chunks
        await connection.execute("ANALYZE")
        return loaded
    finally:
        await connection.close()


async def _copy(connection: asyncpg.Connection, made: Loaded, first_document: int) -> None:
    chunks = len(made.texts)
    documents = -(-chunks // _CHUNKS_OF_DOCUMENT)
    await connection.execute(
        _INSERT,
        made.id,
        _TENANT,
        made.name,
        SPACE.model,
        SPACE.dimension,
        SPACE.normalised,
        documents,
        chunks,
    )
    await connection.copy_records_to_table(
        "documents",
        records=_documents(made, first_document, documents),
        columns=(
            *("id", "tenant_id", "collection_id", "external_id", "title", "metadata", "sha256"),
            *("characters", "passage_count"),
        ),
    )
    places = [divmod(place, _CHUNKS_OF_DOCUMENT) for place in range(chunks)]
    await connection.copy_records_to_table(
        "chunks",
        records=(
            (made.first_chunk + i, made.id, first_document + d, o, made.texts[i])
            for i, (d, o) in enumerate(places)
        ),
        columns=("id", "collection_id", "document_id", "ordinal", "text"),
    )
    await connection.copy_records_to_table(
        "chunk_vectors",
        records=(
            (made.first_chunk + i, 1, made.id, first_document + d, HalfVector(made.vectors[i]))
            for i, (d, _) in enumerate(places)
        ),
        columns=("chunk_id", "generation", "collection_id", "document_id", "embedding"),
    )


def _documents(made: Loaded, first: int, documents: int) -> Iterator[tuple[object, ...]]:
    for i in range(documents):
        metadata = json.dumps({"tenth": i % 10, "half": i % 2})
        title = f"Document {i}"
        yield (
            *(first + i, _TENANT, made.id, f"d{i}", title, metadata, "0" * 64),
            *(600 * _CHUNKS_OF_DOCUMENT, _CHUNKS_OF_DOCUMENT),
        )
