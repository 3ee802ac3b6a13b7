"""A database with sessions of several lengths, their turns written in turn with others'."""

import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.context import Exchange, Recalled, Said
from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.principal import ANYONE
from ailb_server.memory.availability import Availability
from ailb_server.memory.journal import Journal
from ailb_server.memory.recalling import Recalling, RecallRules
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from ailb_server.telemetry.memory_metrics import MemoryMetrics

DIMENSION = 384
SPACE = EmbeddingSpace("bench", DIMENSION)
SESSIONS = (10, 200, 1000, 5000)
_OTHERS = 100

_MIGRATIONS = Path(__file__).resolve().parents[1] / "migrations"
_TEXT = "This is what somebody said, about as long as people write in a chat, and a bit more. " * 3
_numbers = itertools.count()

# Interleaved: turn n of every session before turn n + 1 of any, which is the worst order to read.
_TURNS = """
INSERT INTO turns (tenant_id, session_id, turn, role, tokens, fingerprint, embeddable, request_id,
                   text, space_version, embedding)
SELECT 1, s.id, n, 1 + n % 2, 60, s.id * 100000 + n, true, 'r' || n, $1 || n, 1,
       (SELECT array_agg(random() - 0.5) FROM generate_series(1, 384)
         WHERE s.id > 0 AND n >= 0)::real[]::vector::halfvec
  FROM generate_series(0, 4999) n, sessions s WHERE n < s.turn_count
 ORDER BY n, s.id
"""


class RandomEmbedder:
    """Answers at once: an embedder's own time is measured elsewhere."""

    def __init__(self) -> None:
        self._vectors = vectors()

    @property
    def space(self) -> EmbeddingSpace | None:
        """Known from the start."""
        return SPACE

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Any direction."""
        return [next(self._vectors) for _ in texts]


async def fill(dsn: str, store: Store) -> None:
    """Sessions of the lengths of SESSIONS, and a hundred of 200 turns beside."""
    await migrate(dsn, _MIGRATIONS)
    await store.open()
    async with store.connection() as connection:
        counts = {f"s{count}": count for count in SESSIONS}
        counts.update({f"other {n}": 200 for n in range(_OTHERS)})
        rows = [(1, name, count) for name, count in counts.items()]
        await connection.copy_records_to_table(
            "sessions", records=rows, columns=["tenant_id", "external_id", "turn_count"]
        )
        await connection.execute(
            "INSERT INTO memory_spaces (tenant_id, model, dimension, normalised)"
            " VALUES (1, $1, $2, true)",
            SPACE.model,
            SPACE.dimension,
        )
        await connection.execute(_TURNS, _TEXT)
        await connection.execute("CREATE TABLE bench_rows (number integer)")
        await connection.execute("VACUUM ANALYZE turns")


def vectors() -> Iterator[Vector]:
    """Of length 1, drawn beforehand: drawing one takes as long as a statement."""
    drawn = np.random.default_rng(1).standard_normal((64, DIMENSION)).astype(np.float32)
    return itertools.cycle(drawn / np.linalg.norm(drawn, axis=1, keepdims=True))


def recalling(store: Store) -> Callable[[str, ChatRequest], Awaitable[Recalled]]:
    """A whole recall of a session, as a chat asks for it."""
    observer = MemoryMetrics(CollectorRegistry())
    recall = Recalling(
        PostgresMemoryRecall(store),
        Journal(observer),
        Availability(store.ping, observer),
        RandomEmbedder(),
        observer,
        RecallRules(min_similarity=0.1),
    ).recall
    return lambda session, request: recall(ANYONE, session, request)


def request(words: str) -> ChatRequest:
    """One message."""
    fields = {"model": "m", "messages": [{"role": "user", "content": words}]}
    return ChatRequest("m", stream=False, include_usage=False, body=b"", fields=fields)


def exchange() -> Exchange:
    """One of a session that grows."""
    said = Said({"role": "assistant", "content": _TEXT}, "p", "m", "stop", 60)
    return Exchange(ANYONE, "growing", f"r{next(_numbers)}", request(_TEXT), said)
