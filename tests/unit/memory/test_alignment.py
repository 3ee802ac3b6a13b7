"""What a request repeats of a session."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.memory.alignment import aligned

NUMBERS = st.lists(st.integers(0, 5), max_size=30)


@pytest.mark.parametrize(
    ("stored", "sent", "pairs"),
    [
        ("abcd", "abcd", [(0, 0), (1, 1), (2, 2), (3, 3)]),
        ("abcd", "cd", [(2, 0), (3, 1)]),
        ("abcd", "ab", [(0, 0), (1, 1)]),
        ("abcd", "", []),
        ("", "ab", []),
        ("abcd", "axcy", [(0, 0), (2, 2)]),
        ("aaaa", "aa", [(2, 0), (3, 1)]),
        ("xyabcd", "abcdef", [(2, 0), (3, 1), (4, 2), (5, 3)]),
    ],
)
def test_alignments(stored: str, sent: str, pairs: list[tuple[int, int]]) -> None:
    assert aligned([ord(c) for c in stored], [ord(c) for c in sent]) == pairs


@given(NUMBERS, NUMBERS)
def test_pairs_are_equal_and_in_order(stored: list[int], sent: list[int]) -> None:
    pairs = aligned(stored, sent)
    assert all(stored[i] == sent[j] for i, j in pairs)
    for one, two in pairwise(pairs):
        assert one[0] < two[0]
        assert one[1] < two[1]


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_repeated_history_is_found_whole(
    before: list[int], session: list[int], extra: list[int]
) -> None:
    whole = aligned([*before, *session], session)
    assert [j for _, j in whole][-len(session) :] == list(range(len(session)))
    assert len(aligned(session, [*extra, *session])) == len(session)
