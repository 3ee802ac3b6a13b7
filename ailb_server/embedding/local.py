"""The embedder of a local model: what a caller in the gateway sees of the worker."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.health import PartHealth
from ailb_server.embedding.admission import Admission, AdmissionRules
from ailb_server.embedding.frames import Ask, Embedded
from ailb_server.embedding.link import State, WorkerLink
from ailb_server.embedding.observer import EmbeddingObserver, Lane, observed
from ailb_server.embedding.vector_cache import VectorCache

# Beyond what any model reads of a text; it bounds a frame.
MAX_CHARACTERS = 32_768


@dataclass(frozen=True, slots=True)
class LocalRules:
    """Seconds: `query_s` for all texts of a call, `bulk_s` for each text of a bulk call."""

    query_s: float = 5.0
    bulk_s: float = 120.0
    cache_bytes: int = 32 << 20
    admission: AdmissionRules = field(default_factory=AdmissionRules)


class LocalEmbedder:
    """Queries: refused when too many wait, and bounded in time. See `bulk` for the rest."""

    def __init__(
        self, link: WorkerLink, observer: EmbeddingObserver, rules: LocalRules | None = None
    ) -> None:
        self._link = link
        self._observer = observer
        self._rules = rules or LocalRules()
        self._admission = Admission(self._rules.admission, observer)
        self._cache = VectorCache(self._rules.cache_bytes)
        self._running: asyncio.Task[None] | None = None

    @property
    def space(self) -> EmbeddingSpace | None:
        """See `Embedder.space`. Known from the first start of the worker on."""
        return self._link.space

    @property
    def bulk(self) -> "BulkEmbedder":
        """The same model for imports and the like: any number of texts, after every query."""
        return BulkEmbedder(self)

    @property
    def worker_pid(self) -> int | None:
        """The worker's process, while there is one."""
        return self._link.pid

    def start(self) -> None:
        """Returns at once; the worker starts meanwhile."""
        self._running = asyncio.create_task(self._link.run())

    async def close(self) -> None:
        """Ends the worker; what still waits for a vector gets EmbedderUnavailableError."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    def health(self) -> PartHealth:
        """As `/healthz` tells it."""
        works = self._link.state is not State.UNAVAILABLE
        return PartHealth("embedder", self._link.detail, works=works)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `Embedder.embed`."""
        return [found.vector for found in await self.counted(texts)]

    async def counted(self, texts: Sequence[str], lane: Lane = "query") -> list[Embedded]:
        """As `embed`, with each text's tokens. Raises EmbedderUnavailableError."""
        payloads = [text[:MAX_CHARACTERS].encode(errors="replace") for text in texts]
        keys = [VectorCache.key(payload) for payload in payloads]
        found = {key: self._cache.get(key) for key in keys}
        lacking = {k: p for k, p in zip(keys, payloads, strict=True) if found[k] is None}
        self._observer.texts(lane, len(keys) - len(lacking), len(lacking))
        with observed(self._observer, lane):
            ask = self._query if lane == "query" else self._bulk
            vectors = await ask(list(lacking.values())) if lacking else []
        new = dict(zip(lacking, vectors, strict=True))
        # An import's texts are asked for once; a chat's come again when the turn is stored.
        if lane == "query":
            for key, embedded in new.items():
                self._cache.put(key, embedded)
        return [found[key] or new[key] for key in keys]

    async def _query(self, payloads: Sequence[bytes]) -> list[Embedded]:
        with self._admission.query(payloads):
            return await self._asked(payloads, Ask.QUERY, self._rules.query_s)

    async def _bulk(self, payloads: Sequence[bytes]) -> list[Embedded]:
        with self._admission.bulk():
            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(self._bulk_text(payload)) for payload in payloads]
            except* EmbedderUnavailableError as errors:
                raise EmbedderUnavailableError(str(errors.exceptions[0])) from None
        return [task.result() for task in tasks]

    async def _bulk_text(self, payload: bytes) -> Embedded:
        async with self._admission.place():
            (found,) = await self._asked([payload], Ask.BULK, self._rules.bulk_s)
            return found

    async def _asked(self, payloads: Sequence[bytes], lane: Ask, within_s: float) -> list[Embedded]:
        futures: list[asyncio.Future[Embedded]] = []
        try:
            async with asyncio.timeout(within_s):
                futures += [self._link.submit(payload, lane) for payload in payloads]
                return [await future for future in futures]
        except TimeoutError:
            raise EmbedderUnavailableError(
                f"The embedding was not ready within {within_s:g} s."
            ) from None
        finally:
            for future in futures:
                # The rest is taken back; an error that nobody awaited has been told by another.
                if not future.cancel() and not future.cancelled():
                    future.exception()


@dataclass(frozen=True, slots=True)
class BulkEmbedder:
    """An `Embedder` for many texts that nobody waits for, such as an import's."""

    embedder: LocalEmbedder

    @property
    def space(self) -> EmbeddingSpace | None:
        """See `Embedder.space`."""
        return self.embedder.space

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `Embedder.embed`. Waits for as long as the worker goes on answering."""
        return [found.vector for found in await self.embedder.counted(texts, "bulk")]
