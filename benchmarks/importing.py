"""Measures imports beside the embedder alone: `python -m benchmarks.importing`.

Documents of several sizes are imported; then the embedder is given the same texts, and nothing
else happens. The ratio tells how much of its rate an import reaches: 1.00 would be all of it. The
embedder is a fake one, which takes a fixed time for each text, one after the other, as a local
model does; with `--local` it is all-MiniLM-L6-v2 in its own process.
"""

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ailb_server.domain.embedding import Embedder, EmbeddingSpace, Vector
from ailb_server.domain.principal import ANYONE
from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.importing import DocumentInput, IntakeRules
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from tests.support.importing import FakeEmbedder, Instance

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_WORDS = (
    *("the", "a", "model", "gateway", "reads", "writes", "answers", "of", "to", "in", "with"),
    *("budget", "key", "tenant", "route"),
)
_BATCH = 64
_LANES = 2
_DOCUMENTS_A_REQUEST = 500


@dataclass(frozen=True, slots=True)
class Recording:
    """An embedder that keeps what it is given."""

    embedder: Embedder
    texts: list[str] = field(default_factory=list)

    @property
    def space(self) -> EmbeddingSpace | None:
        """The embedder's."""
        return self.embedder.space

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """As the embedder."""
        self.texts.extend(texts)
        return await self.embedder.embed(texts)


@contextmanager
def _postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory))
        with server as dsn:
            yield dsn


@asynccontextmanager
async def _embedder(cost_s: float | None) -> AsyncIterator[Embedder]:
    """A fake one; None: the local model."""
    if cost_s is not None:
        yield FakeEmbedder(cost_s=cost_s)
        return
    from tests.support.embedding import local_embedder, model_at, until_ready  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as cache:
        local = local_embedder(await asyncio.to_thread(model_at, Path(cache)))
        local.start()
        try:
            await until_ready(local)
            yield local.bulk
        finally:
            await local.close()


def _document(rng: random.Random, number: int, words: int) -> DocumentInput:
    paragraphs = (" ".join(rng.choices(_WORDS, k=12)) + "." for _ in range(max(1, words // 12)))
    text = f"# Document {number}\n\n" + "\n\n".join(paragraphs)
    return DocumentInput(f"{number}.md", text.encode())


async def _imported(store: Store, recording: Recording, words: int, passages: int) -> float:
    """The seconds that an import of about `passages` takes, once the processes have started."""
    # Looked at more often than a caller would: the end counts, not when it is seen.
    often = IntakeRules(poll_s=0.02, slowest_poll_s=0.02)
    instance = Instance(store, recording, rules=WorkRules(), intake=often)
    name = f"bench-{random.randrange(10**9)}"  # noqa: S311
    await instance.collection(name)
    rng = random.Random(1)  # noqa: S311
    count = max(1, passages // max(1, round(words * 6 / 1000)))
    documents = [_document(rng, number, words) for number in range(count)]
    async with instance.working():
        await instance.done(DocumentInput("first.md", b"# Start"), collection=name)
        recording.texts.clear()
        started = time.perf_counter()
        jobs = [
            await instance.start(*documents[at : at + _DOCUMENTS_A_REQUEST], collection=name)
            for at in range(0, count, _DOCUMENTS_A_REQUEST)
        ]
        for job in jobs:
            async for status in instance.importing.watch(ANYONE, job.id):
                if status.failed:
                    raise RuntimeError("documents failed")
        return time.perf_counter() - started


async def _alone(embedder: Embedder, texts: Sequence[str]) -> float:
    """The seconds that the embedder takes for the texts, asked as an import asks it."""
    batches = iter([texts[at : at + _BATCH] for at in range(0, len(texts), _BATCH)])

    async def lane() -> None:
        for batch in batches:
            await embedder.embed(batch)

    started = time.perf_counter()
    await asyncio.gather(*(lane() for _ in range(_LANES)))
    return time.perf_counter() - started


async def _compared(
    store: Store, embedder: Embedder, words: int, passages: int
) -> tuple[float, float, float]:
    """Texts a second of the embedder alone and of an import, and what part of it that is.

    Imported before and after: what else the machine does would favour one of the two.
    """
    recording = Recording(embedder)
    before_s = await _imported(store, recording, words, passages)
    alone_s = await _alone(embedder, recording.texts)
    after_s = await _imported(store, Recording(embedder), words, passages)
    count, import_s = len(recording.texts), (before_s + after_s) / 2
    return count / alone_s, count / import_s, alone_s / import_s


async def _run(dsn: str, passages: int, costs_s: Sequence[float | None], *, repeats: int) -> None:
    await migrate(dsn, _MIGRATIONS)
    store = Store(dsn)
    await store.open()
    print("passages a document   ms a text   alone/s  import/s  ratio")
    for cost_s in costs_s:
        async with _embedder(cost_s) as embedder:
            for words in (60, 1000, 20_000):
                runs = [await _compared(store, embedder, words, passages) for _ in range(repeats)]
                alone, imported, ratio = (
                    statistics.median(found) for found in zip(*runs, strict=True)
                )
                each = max(1, round(words * 6 / 1000))
                cost = "all-MiniLM" if cost_s is None else f"{cost_s * 1000:g}"
                print(f"{each:>19} {cost:>11} {alone:>9.0f} {imported:>9.0f} {ratio:6.2f}")
    await store.close()
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=1500, help="about how many an import has")
    parser.add_argument("--repeats", type=int, default=3, help="medians of so many runs")
    parser.add_argument("--local", action="store_true", help="the local model instead")
    arguments = parser.parse_args()
    costs_s = (None,) if arguments.local else (0.005, 0.002)
    with _postgres() as dsn:
        asyncio.run(_run(dsn, arguments.passages, costs_s, repeats=arguments.repeats))


if __name__ == "__main__":
    main()
