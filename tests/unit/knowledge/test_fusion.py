"""Reciprocal rank fusion."""

import pytest

from ailb_server.knowledge.fusion import fuse


def test_ranks_add_up() -> None:
    assert fuse([[1, 2], [2, 3]]) == pytest.approx({2: 1 / 62 + 1 / 61, 1: 1 / 61, 3: 1 / 62})


def test_the_best_comes_first_and_equals_by_id() -> None:
    assert list(fuse([[9, 5], [5, 9], [7]])) == [5, 9, 7]
    assert list(fuse([[4], [3]])) == [3, 4]


def test_nothing_is_nothing() -> None:
    assert fuse([]) == fuse([[], []]) == {}
