"""Results of searches, kept while they hold."""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import orjson

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.knowledge import Collection
from ailb_server.knowledge.passages import Passage

_TTL_S = 3600.0
# Passages are long: 10,000 results of 50 each would be gigabytes.
_MAX_CHARACTERS = 32_000_000


@dataclass(frozen=True, slots=True)
class CacheKey:
    """What a result depends on. A collection that has changed has another version."""

    tenant_id: int
    collection_id: int
    version: int
    text_sha256: bytes
    top_k: int
    filter: bytes
    min_score: float | None


def cache_key(collection: Collection, query: KnowledgeQuery) -> CacheKey:
    """The query's key; the order of a filter's members makes no difference."""
    return CacheKey(
        tenant_id=collection.tenant_id,
        collection_id=collection.id,
        version=collection.version,
        text_sha256=hashlib.sha256(query.text.encode()).digest(),
        top_k=query.top_k,
        filter=orjson.dumps(dict(query.filter), option=orjson.OPT_SORT_KEYS),
        min_score=query.min_score,
    )


class ResultCache:
    """The `size` results used last, for an hour each; `clock` tells seconds.

    `looked_up` is told of every look-up, whether it was a hit.
    """

    def __init__(
        self,
        size: int,
        looked_up: Callable[[bool], None] = lambda _hit: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._size = size
        self._looked_up = looked_up
        self._clock = clock
        self._results: OrderedDict[CacheKey, tuple[float, int, tuple[Passage, ...]]] = OrderedDict()
        self._characters = 0

    def get(self, key: CacheKey) -> tuple[Passage, ...] | None:
        """The result, or None."""
        entry = self._results.get(key)
        if entry is not None and entry[0] <= self._clock():
            self._remove(key)
            entry = None
        self._looked_up(entry is not None)
        if entry is None:
            return None
        self._results.move_to_end(key)
        return entry[2]

    def put(self, key: CacheKey, passages: tuple[Passage, ...]) -> None:
        """Keeps a result; the ones that were not used for longest give way."""
        self._remove(key)
        characters = sum(len(passage.text) for passage in passages)
        self._results[key] = (self._clock() + _TTL_S, characters, passages)
        self._characters += characters
        while len(self._results) > self._size or self._characters > _MAX_CHARACTERS:
            self._remove(next(iter(self._results)))

    def _remove(self, key: CacheKey) -> None:
        entry = self._results.pop(key, None)
        if entry is not None:
            self._characters -= entry[1]
