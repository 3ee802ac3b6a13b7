"""How much may wait for a vector at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.embedding.observer import EmbeddingObserver


@dataclass(frozen=True, slots=True)
class AdmissionRules:
    """Queries beyond `texts` or `bytes` are refused at once: a chat goes on without.

    Bulk calls wait for one of `bulk_texts` places, so that the worker always has two batches and
    never more; beyond `bulk_calls` of them, further ones are refused.
    """

    texts: int = 256
    bytes: int = 4 << 20
    bulk_texts: int = 32
    bulk_calls: int = 64


class Admission:
    """Two lanes, each bounded by itself: bulk cannot keep queries out."""

    def __init__(self, rules: AdmissionRules, observer: EmbeddingObserver) -> None:
        self._rules = rules
        self._observer = observer
        self._texts = 0
        self._bytes = 0
        self._bulk_calls = 0
        self._bulk_texts = 0
        self._places = asyncio.Semaphore(rules.bulk_texts)

    @contextmanager
    def query(self, payloads: Sequence[bytes]) -> Iterator[None]:
        """Raises EmbedderUnavailableError."""
        size = sum(map(len, payloads))
        rules = self._rules
        if self._texts + len(payloads) > rules.texts or self._bytes + size > rules.bytes:
            raise EmbedderUnavailableError("Too many texts wait for their embeddings.")
        self._count(len(payloads), size)
        try:
            yield
        finally:
            self._count(-len(payloads), -size)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """A call. Raises EmbedderUnavailableError."""
        if self._bulk_calls >= self._rules.bulk_calls:
            raise EmbedderUnavailableError("Too many imports wait for their embeddings.")
        self._bulk_calls += 1
        try:
            yield
        finally:
            self._bulk_calls -= 1

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """For one text of a bulk call; waits for it."""
        async with self._places:
            self._bulk_texts += 1
            self._observer.waiting("bulk", self._bulk_texts)
            try:
                yield
            finally:
                self._bulk_texts -= 1
                self._observer.waiting("bulk", self._bulk_texts)

    def _count(self, texts: int, size: int) -> None:
        self._texts += texts
        self._bytes += size
        self._observer.waiting("query", self._texts)
