"""Measures imports beside the embedder alone: `python -m benchmarks.importing`.

The embedder is a fake one that takes a fixed time for each text, one after the other, as a local
model does. The ratio tells how much of that rate an import reaches: 1.00 would be all of it.
"""

import argparse
import asyncio
import os
import random
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.importing import DocumentInput
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from tests.support.importing import FakeEmbedder, Instance

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_WORDS = (
    *("the", "a", "model", "gateway", "reads", "writes", "answers", "of", "to", "in", "with"),
    *("budget", "key", "tenant", "route"),
)


def _document(rng: random.Random, number: int, words: int) -> DocumentInput:
    paragraphs = (" ".join(rng.choices(_WORDS, k=12)) + "." for _ in range(max(1, words // 12)))
    text = f"# Document {number}\n\n" + "\n\n".join(paragraphs)
    return DocumentInput(f"{number}.md", text.encode())


@contextmanager
def _postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as directory:
        server = EmbeddedPostgres(Path(directory))
        with server as dsn:
            yield dsn


async def _rates(dsn: str, texts: int, cost_s: float, words: int) -> tuple[float, float]:
    """Texts a second: the embedder alone, and an import of about as many."""
    embedder = FakeEmbedder(cost_s=cost_s)
    sample = ["word " * 150] * 64
    started = time.perf_counter()
    for _ in range(max(1, texts // len(sample) // 4)):
        await embedder.embed(sample)
    alone = len(embedder.texts) / (time.perf_counter() - started)
    embedder.texts.clear()
    store = Store(dsn)
    await store.open()
    try:
        instance = Instance(store, embedder, rules=WorkRules())
        name = f"bench-{words}-{cost_s * 1000:g}"
        await instance.collection(name)
        rng = random.Random(1)  # noqa: S311
        passages_each = max(1, round(words * 6 / 1000))
        documents = [_document(rng, n, words) for n in range(texts // passages_each)]
        async with instance.working():
            started = time.perf_counter()
            jobs = [
                await instance.start(*documents[at : at + 500], collection=name)
                for at in range(0, len(documents), 500)
            ]
            for job in jobs:
                status = await instance.finished(job)
                if status.failed:
                    raise RuntimeError("documents failed")
            elapsed = time.perf_counter() - started
    finally:
        await store.close()
    return alone, len(embedder.texts) / elapsed


async def _run(dsn: str, texts: int) -> None:
    await migrate(dsn, _MIGRATIONS)
    print(
        f"{'passages a document':>20} {'ms a text':>10} {'alone/s':>9} {'import/s':>9} {'ratio':>6}"
    )
    for words in (60, 1000, 20_000):
        for cost_s in (0.005, 0.002, 0.0):
            alone, imported = await _rates(dsn, texts, cost_s, words)
            ratio = f"{imported / alone:6.2f}" if cost_s else "     -"
            each = max(1, round(words * 6 / 1000))
            print(f"{each:>19} {cost_s * 1000:>10g} {alone:>9.0f} {imported:>9.0f} {ratio}")
    print(f"load average: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=2000, help="about how many passages")
    arguments = parser.parse_args()
    with _postgres() as dsn:
        asyncio.run(_run(dsn, arguments.texts))


if __name__ == "__main__":
    main()
