"""`python -m benchmarks.knowledge`: recall and latency of searches among many collections.

100,000 chunks in 1,000 collections of 10 to 30,000 chunks each, on a Postgres of its own. Prints a
table: for each size the share of the ten nearest chunks that a search finds, and what a hybrid
search takes beside the bare vector query, one after the other in one run.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import uvloop
from pgvector import HalfVector

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.knowledge.cache import ResultCache
from ailb_server.knowledge.retrieval import Retriever
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.knowledge_indexes import VectorIndexes
from ailb_server.storage.knowledge_vectors import PostgresKnowledge
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from benchmarks.figures import latency
from benchmarks.knowledge_corpus import CLASSES, SPACE, Corpus, Loaded, SizeClass, load
from benchmarks.machine import cpu_model

T = TypeVar("T")

RECALL_AIM = 0.97
LATENCY_AIM = 3.0

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_TENANT = 1
_NEAREST = 10
_WARM_UP = 20
_PURE = """
SELECT chunk_id FROM chunk_vectors WHERE collection_id = {collection} AND generation = 1
 ORDER BY {order} LIMIT 10
"""
_ORDER = f"embedding::halfvec({SPACE.dimension}) <=> $1::halfvec({SPACE.dimension})"


@dataclass
class GivenVector:
    """An embedder that has the query's vector at hand."""

    vector: Vector
    space: EmbeddingSpace | None = SPACE

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        return [self.vector] * len(texts)


@dataclass
class Samples:
    """What was measured of one size, in ns."""

    recalls: list[float] = field(default_factory=list)
    pure: list[int] = field(default_factory=list)
    few_words: list[int] = field(default_factory=list)
    question: list[int] = field(default_factory=list)
    filtered: list[int] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, whether the aims are met or not: a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.knowledge", description=__doc__)
    parser.add_argument("--queries", type=int, default=150, help="of each size")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="ailb-knowledge-") as directory:
        server = EmbeddedPostgres(Path(directory) / "postgres", settings={"fsync": "off"})
        with server as dsn:
            uvloop.run(_run(dsn, asked.queries))
    return 0


async def _run(dsn: str, queries: int) -> None:
    print(f"Python {platform.python_version()}, {cpu_model()}")
    await migrate(dsn, _MIGRATIONS)
    store = Store(dsn, size=2)
    await store.open()
    try:
        corpus = Corpus()
        loaded = await _timed("loading", load(dsn, corpus))
        await _timed("making the indexes", VectorIndexes(store, dsn).tend())
        measured = {}
        for size in CLASSES:
            measured[size] = await _measure(store, corpus, loaded[size], queries)
        _report(measured)
    finally:
        await store.close()


async def _measure(
    store: Store, corpus: Corpus, collections: Sequence[Loaded], queries: int
) -> Samples:
    samples = Samples()
    for number in range(_WARM_UP + queries):
        if number == _WARM_UP:
            samples = Samples()
        chosen = collections[corpus.index(len(collections))]
        place = corpus.index(len(chosen.texts))
        vector = corpus.query(chosen.vectors[place])
        await _query(store, corpus, chosen, samples, (place, vector))
    return samples


async def _query(
    store: Store,
    corpus: Corpus,
    chosen: Loaded,
    samples: Samples,
    asked: tuple[int, Vector],
) -> None:
    place, vector = asked
    rows = PostgresKnowledge(store)
    words = chosen.texts[place].split()
    others = chosen.texts[corpus.index(len(chosen.texts))].split()
    few = KnowledgeQuery(chosen.name, " ".join(corpus.choose(words, 3)))
    question = replace(few, text=" ".join(corpus.choose(words, 5) + corpus.choose(others, 4)))
    retriever = Retriever(rows, GivenVector(vector), ResultCache(0))
    # The reference takes turns with what is compared to it.
    samples.pure.append(await _took(lambda: _ids(store, _ORDER, chosen, vector)))
    samples.few_words.append(await _took(lambda: retriever.search(_TENANT, few)))
    samples.question.append(await _took(lambda: retriever.search(_TENANT, question)))
    narrowed = replace(question, filter={"tenth": place // 10 % 10})
    samples.filtered.append(await _took(lambda: retriever.search(_TENANT, narrowed)))
    collection = await rows.collection(_TENANT, chosen.name)
    near = await rows.nearest(collection, vector, limit=50, metadata={})
    exact = set(await _ids(store, f"({_ORDER}) + 0", chosen, vector))
    found = exact & {chunk.chunk_id for chunk in near[:_NEAREST]}
    samples.recalls.append(len(found) / len(exact))


async def _ids(store: Store, order: str, chosen: Loaded, vector: Vector) -> list[int]:
    query = _PURE.format(collection=chosen.id, order=order)
    async with store.connection() as connection:
        rows = await connection.fetch(query, HalfVector(vector))
    return [row["chunk_id"] for row in rows]


async def _took(call: Callable[[], Awaitable[object]]) -> int:
    started = time.perf_counter_ns()
    await call()
    return time.perf_counter_ns() - started


async def _timed(what: str, work: Awaitable[T]) -> T:
    started = time.perf_counter()
    result = await work
    print(f"{what}: {time.perf_counter() - started:.1f} s")
    return result


def _report(measured: dict[SizeClass, Samples]) -> None:
    print(
        f"\n{'chunks':>7} {'collections':>11} {'recall@10':>9} {'lowest':>6}  "
        "p50/p99 ms: pure, hybrid with few words, with a question, filtered; p50 ratios"
    )
    for size, samples in measured.items():
        figures = [
            f"{told.p50:.2f}/{told.p99:.1f}"
            for told in map(
                latency, (samples.pure, samples.few_words, samples.question, samples.filtered)
            )
            if told is not None
        ]
        pure = float(np.median(samples.pure))
        ratios = [
            f"{float(np.median(values)) / pure:.1f}x"
            for values in (samples.few_words, samples.question, samples.filtered)
        ]
        print(
            f"{size.chunks:>7} {size.collections:>11} {np.mean(samples.recalls):>9.4f}"
            f" {min(samples.recalls):>6.2f}  {'  '.join(figures)}  {'  '.join(ratios)}"
        )
    print(f"\nAims: recall of at least {RECALL_AIM}, hybrid at most {LATENCY_AIM:g} times pure.")


if __name__ == "__main__":
    raise SystemExit(main())
