"""The least recently used vectors make room; a text itself is not kept."""

import numpy as np

from ailb_server.embedding.frames import Embedded
from ailb_server.embedding.vector_cache import VectorCache


def embedded(number: float) -> Embedded:
    return Embedded(np.full(100, number, dtype=np.float32), 3)


def test_it_is_bounded_and_forgets_what_was_not_asked_for() -> None:
    cache = VectorCache(max_bytes=800 * 3)
    for number in range(3):
        cache.put(bytes([number]), embedded(number))
    assert cache.get(b"\0") is not None
    cache.put(b"\3", embedded(3))
    assert len(cache) == 3
    assert cache.get(b"\1") is None
    found = cache.get(b"\0")
    assert found is not None
    assert found.vector[0] == 0


def test_the_same_text_takes_its_place_once() -> None:
    cache = VectorCache(max_bytes=800 * 2)
    for _ in range(5):
        cache.put(b"a", embedded(1))
    cache.put(b"b", embedded(2))
    assert len(cache) == 2


def test_none_is_kept_without_room() -> None:
    cache = VectorCache(max_bytes=0)
    cache.put(b"a", embedded(1))
    assert len(cache) == 0


def test_a_key_says_nothing_of_the_text() -> None:
    assert VectorCache.key(b"secret") == VectorCache.key(b"secret")
    assert len(VectorCache.key(b"s" * 100_000)) == 32
