"""The embedder of a configured provider's model, asked as any caller would ask."""

import asyncio
import base64
import binascii
import itertools
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import orjson

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, Operation
from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import (
    AilbError,
    EmbedderUnavailableError,
    UpstreamRejectedError,
)
from ailb_server.domain.health import PartHealth
from ailb_server.embedding.encoder import unit
from ailb_server.embedding.frames import Embedded
from ailb_server.embedding.observer import EmbeddingObserver, Lane, observed
from ailb_server.embedding.vector_cache import VectorCache

# OpenAI's limit is 8,191 tokens for a text, and a longer one fails its whole request. No script has
# many more tokens than characters.
MAX_CHARACTERS = 6_000

_log = logging.getLogger(__name__)


class _Answer(Protocol):
    @property
    def chunks(self) -> AsyncIterator[ChatChunk]:
        """One chunk, whose one event is OpenAI's list of embeddings."""
        ...


class Pipeline(Protocol):
    """The gateway's own way to its providers, with their failover and limits."""

    def open(self, request: ChatRequest) -> AbstractAsyncContextManager[_Answer]:
        """Raises AilbError."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderRules:
    """Seconds for a request of a query or of bulk. A request has at most `texts` of at most
    `characters` together; `requests` run at once for either lane, and `calls` wait."""

    query_s: float = 5.0
    bulk_s: float = 120.0
    texts: int = 64
    characters: int = 200_000
    requests: int = 4
    calls: int = 256
    cache_bytes: int = 32 << 20
    learn_again_s: tuple[float, ...] = field(default=(1, 2, 5, 15, 60))


class ProviderEmbedder:
    """Queries; see `bulk` for the rest. Its space is learnt by asking once, after the start."""

    def __init__(
        self,
        pipeline: Pipeline,
        model: str,
        observer: EmbeddingObserver,
        rules: ProviderRules | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._model = model
        self._observer = observer
        self._rules = rules or ProviderRules()
        self._cache = VectorCache(self._rules.cache_bytes)
        self._places = {
            "query": asyncio.Semaphore(self._rules.requests),
            "bulk": asyncio.Semaphore(self._rules.requests),
        }
        self._calls = {"query": 0, "bulk": 0}
        self._problem = "starting"
        self._learning: asyncio.Task[None] | None = None
        self.space: EmbeddingSpace | None = None

    @property
    def bulk(self) -> "BulkProviderEmbedder":
        """The same model for imports and the like, with requests of its own."""
        return BulkProviderEmbedder(self)

    def start(self) -> None:
        """Returns at once; the model is asked for its dimension meanwhile."""
        self._learning = asyncio.create_task(self._learn())

    async def close(self) -> None:
        """Ends what `start` began."""
        if self._learning is not None:
            self._learning.cancel()
            with suppress(asyncio.CancelledError):
                await self._learning

    def health(self) -> PartHealth:
        """By the last request."""
        return PartHealth("embedder", self._problem, works=self.space is not None)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `Embedder.embed`."""
        return await self.laned(texts, "query")

    async def laned(self, texts: Sequence[str], lane: Lane) -> list[Vector]:
        """As `embed`. Raises EmbedderUnavailableError."""
        # An empty text is refused by OpenAI.
        cut = [text[:MAX_CHARACTERS] or " " for text in texts]
        keys = [VectorCache.key(text.encode(errors="replace")) for text in cut]
        found = {key: self._cache.get(key) for key in keys}
        lacking = {k: t for k, t in zip(keys, cut, strict=True) if found[k] is None}
        self._observer.texts(lane, len(keys) - len(lacking), len(lacking))
        with observed(self._observer, lane):
            vectors = await self._computed(list(lacking.values()), lane) if lacking else []
        new = {k: Embedded(v, 0) for k, v in zip(lacking, vectors, strict=True)}
        if lane == "query":
            for key, embedded in new.items():
                self._cache.put(key, embedded)
        return [(found[key] or new[key]).vector for key in keys]

    async def _computed(self, texts: Sequence[str], lane: Lane) -> list[Vector]:
        if self._calls[lane] >= self._rules.calls:
            raise EmbedderUnavailableError("Too many texts wait for their embeddings.")
        self._calls[lane] += 1
        try:
            return [
                vector
                for batch in _batches(texts, self._rules)
                for vector in await self._bounded(batch, lane)
            ]
        except AilbError as error:
            problem = _told(error)
            self._problem = f"{self._model}: {problem}"
            raise EmbedderUnavailableError(f"No embeddings now: {problem}") from error
        finally:
            self._calls[lane] -= 1

    async def _bounded(self, texts: Sequence[str], lane: Lane) -> list[Vector]:
        within_s = self._rules.query_s if lane == "query" else self._rules.bulk_s
        try:
            async with asyncio.timeout(within_s), self._places[lane]:
                return await self._asked(texts)
        except TimeoutError:
            raise EmbedderUnavailableError(
                f"the embedding was not ready within {within_s:g} s."
            ) from None

    async def _asked(self, texts: Sequence[str]) -> list[Vector]:
        fields: dict[str, Json] = {
            "model": self._model,
            "input": list(texts),
            "encoding_format": "float",
        }
        request = ChatRequest(
            model=self._model,
            stream=False,
            include_usage=False,
            body=orjson.dumps(fields),
            fields=fields,
            operation=Operation.EMBEDDING,
        )
        async with self._pipeline.open(request) as answer:
            events = [event async for chunk in answer.chunks for event in chunk.events]
        vectors = _vectors(events[0] if events else {}, len(texts))
        self._check(len(vectors[0]))
        self._problem = ""
        return vectors

    def _check(self, dimension: int) -> None:
        if self.space is None:
            self.space = EmbeddingSpace(self._model, dimension)
            _log.info("embeddings: %s has %d dimensions", self._model, dimension)
        elif self.space.dimension != dimension:
            raise EmbedderUnavailableError(
                f"it answered {dimension} dimensions instead of {self.space.dimension}."
            )

    async def _learn(self) -> None:
        """Until the model has answered once: without its space, nothing can be stored."""
        pauses = self._rules.learn_again_s
        for pause_s in itertools.chain(pauses, itertools.repeat(pauses[-1])):
            try:
                await self.laned(["dimensions"], "bulk")
            except EmbedderUnavailableError as error:
                _log.warning("the embedding model %s: %s", self._model, error)
            if self.space is not None:
                return
            await asyncio.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class BulkProviderEmbedder:
    """An `Embedder` for many texts that nobody waits for."""

    embedder: ProviderEmbedder

    @property
    def space(self) -> EmbeddingSpace | None:
        """See `Embedder.space`."""
        return self.embedder.space

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """See `Embedder.embed`."""
        return await self.embedder.laned(texts, "bulk")


def _batches(texts: Sequence[str], rules: ProviderRules) -> list[list[str]]:
    batches: list[list[str]] = [[]]
    characters = 0
    for text in texts:
        batch = batches[-1]
        full = len(batch) >= rules.texts or characters + len(text) > rules.characters
        if batch and full:
            batch = []
            batches.append(batch)
            characters = 0
        batch.append(text)
        characters += len(text)
    return batches


def _vectors(listed: Json, expected: int) -> list[Vector]:
    """Raises EmbedderUnavailableError for what is not one vector for each text."""
    try:
        data = sorted(listed["data"], key=lambda item: int(item.get("index", 0)))
        rows = np.stack([_numbers(item["embedding"]) for item in data])
        fits = len(rows) == expected and rows.ndim == 2 and np.isfinite(rows).all()  # noqa: PLR2004
    except (KeyError, TypeError, ValueError, AttributeError, binascii.Error):
        fits = False
    if not fits or not np.any(rows, axis=1).all():
        raise EmbedderUnavailableError("the answer is not one vector for each text.")
    return list(unit(rows))


def _numbers(embedding: Json) -> Vector:
    # Some servers answer base64 whatever they are asked for.
    if isinstance(embedding, str):
        return np.frombuffer(base64.b64decode(embedding, validate=True), dtype="<f4")
    return np.asarray(embedding, dtype=np.float32)


def _told(error: AilbError) -> str:
    """Never in the provider's words: they may quote a text, and everybody is told of this."""
    if isinstance(error, UpstreamRejectedError):
        return f"the provider rejects the request with status {error.reply.status}."
    return str(error)
