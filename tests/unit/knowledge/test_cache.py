"""Results kept: for an hour, the ones used last, of one version."""

import dataclasses
from datetime import UTC, datetime

from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.knowledge import Collection
from ailb_server.knowledge.cache import ResultCache, cache_key
from ailb_server.knowledge.passages import Passage

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOCS = Collection(7, 1, "docs", "", None, 1, 1000, 100, 5, 1, 1, NOW, NOW)
QUERY = KnowledgeQuery("docs", "what", 3, {"a": 1, "b": [2]}, 0.5)


def passage(text: str = "x") -> Passage:
    return Passage("a", "", "", {}, text, 0, 0, None, 0.1)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_key_tells_everything_apart() -> None:
    keys = {
        cache_key(collection, query)
        for collection in (
            DOCS,
            dataclasses.replace(DOCS, id=8),
            dataclasses.replace(DOCS, tenant_id=2),
            dataclasses.replace(DOCS, version=6),
        )
        for query in (
            QUERY,
            dataclasses.replace(QUERY, text="that"),
            dataclasses.replace(QUERY, top_k=4),
            dataclasses.replace(QUERY, filter={"a": 1}),
            dataclasses.replace(QUERY, min_score=None),
        )
    }
    assert len(keys) == 20
    turned = dataclasses.replace(QUERY, filter={"b": [2], "a": 1})
    assert cache_key(DOCS, turned) == cache_key(DOCS, QUERY)


def test_results_last_an_hour() -> None:
    clock, told = Clock(), list[bool]()
    cache = ResultCache(10, told.append, clock)
    key = cache_key(DOCS, QUERY)
    assert cache.get(key) is None
    cache.put(key, (passage(),))
    clock.now = 3599
    assert cache.get(key) == (passage(),)
    clock.now = 3600
    assert cache.get(key) is None
    assert told == [False, True, False]


def test_the_least_used_gives_way() -> None:
    cache = ResultCache(2)
    keys = [cache_key(dataclasses.replace(DOCS, id=n), QUERY) for n in range(3)]
    cache.put(keys[0], ())
    cache.put(keys[1], ())
    assert cache.get(keys[0]) == ()
    cache.put(keys[2], ())
    assert [cache.get(key) for key in keys] == [(), None, ()]


def test_long_results_take_the_place_of_many() -> None:
    cache = ResultCache(1000)
    keys = [cache_key(dataclasses.replace(DOCS, id=n), QUERY) for n in range(5)]
    for key in keys:
        cache.put(key, (passage("x" * 10_000_000),))
    assert [cache.get(key) is not None for key in keys] == [False, False, True, True, True]


def test_no_size_keeps_nothing() -> None:
    cache = ResultCache(0)
    cache.put(cache_key(DOCS, QUERY), ())
    assert cache.get(cache_key(DOCS, QUERY)) is None
