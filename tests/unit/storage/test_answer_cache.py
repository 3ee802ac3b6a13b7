"""The response cache of an instance: its times and its bounds."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from ailb_server.storage.answer_cache import ENTRY_BYTES, InMemoryAnswerCache


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


async def test_an_answer_is_there_until_its_time_is_over() -> None:
    clock = Clock()
    cache = InMemoryAnswerCache(10, 10_000, clock)
    await cache.put(b"a", b"answer", 60)
    assert await cache.get(b"b", 60) is None
    assert await cache.get(b"a", 60) == b"answer"
    clock.now = 30
    assert await cache.get(b"a", 30) is None, "too old for who asks"
    assert await cache.get(b"a", 31) == b"answer"
    clock.now = 60
    assert await cache.get(b"a", 1000) is None, "too old for who stored it"
    assert (cache.entries, cache.size) == (0, 0)


async def test_what_was_not_asked_for_longest_goes_first() -> None:
    cache = InMemoryAnswerCache(2, 10_000)
    await cache.put(b"a", b"1", 60)
    await cache.put(b"b", b"2", 60)
    assert await cache.get(b"a", 60)
    await cache.put(b"c", b"3", 60)
    assert await cache.get(b"b", 60) is None
    assert await cache.get(b"a", 60)


async def test_what_is_larger_than_all_of_it_is_not_kept() -> None:
    cache = InMemoryAnswerCache(2, ENTRY_BYTES + 5)
    await cache.put(b"a", b"small", 60)
    await cache.put(b"b", b"larger", 60)
    assert (cache.entries, cache.size) == (1, ENTRY_BYTES + 5)
    # What is there is not there in its older form either.
    await cache.put(b"a", b"larger", 60)
    assert cache.entries == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3000))))
async def test_bounds_hold(puts: list[tuple[int, int]]) -> None:
    cache = InMemoryAnswerCache(4, 5000)
    for name, length in puts:
        await cache.put(bytes([name]), b"x" * length, 60)
        assert cache.entries <= 4
        assert 0 <= cache.size <= 5000
        assert (cache.size == 0) == (cache.entries == 0)
