"""Neighbours made one passage."""

import pytest

from ailb_server.domain.knowledge import StoredChunk
from ailb_server.knowledge.passages import MAX_CHUNKS, Hit, group, joined_text, passage


def hits(*places: tuple[int, int]) -> list[Hit]:
    """Of documents and ordinals, the best first; a chunk's id is `100 * document + ordinal`."""
    return [Hit(100 * d + o, d, o, 1 / (n + 1)) for n, (d, o) in enumerate(places)]


def shape(groups: list[list[Hit]]) -> list[tuple[int, list[int]]]:
    return [(members[0].document_row, [hit.ordinal for hit in members]) for members in groups]


def stored(ordinal: int, text: str, overlap: int = 0) -> StoredChunk:
    return StoredChunk(ordinal, ordinal, overlap, text, "doc", "Title", "/x", {"a": 1})


@pytest.mark.parametrize(
    ("found", "top_k", "wanted"),
    [
        ([(1, 4), (2, 4), (1, 5)], 3, [(1, [4, 5]), (2, [4])]),
        ([(1, 4), (1, 6), (1, 5)], 3, [(1, [4, 5, 6])]),
        ([(1, 4), (1, 6)], 3, [(1, [4]), (1, [6])]),
        ([(1, 0), (2, 0), (1, 1)], 1, [(1, [0])]),
        ([(1, 0), (1, 1), (2, 0)], 1, [(1, [0, 1])]),
        ([], 3, []),
    ],
)
def test_neighbours_of_one_document_join(
    found: list[tuple[int, int]], top_k: int, wanted: list[tuple[int, list[int]]]
) -> None:
    assert shape(group(hits(*found), top_k)) == wanted


def test_a_passage_has_an_end() -> None:
    groups = group(hits(*((1, n) for n in range(3 * MAX_CHUNKS))), 2)
    assert max(len(members) for members in groups) == MAX_CHUNKS
    assert len(groups) == 2


def test_what_is_repeated_is_said_once() -> None:
    chunks = [stored(0, "one two "), stored(1, "two three", 4), stored(2, "four")]
    assert joined_text(chunks) == "one two three\nfour"


def test_a_passage_is_as_good_as_its_best_hit() -> None:
    found = [Hit(0, 1, 0, 0.5, 0.2), Hit(1, 1, 1, 0.9, None)]
    made = passage(found, {0: stored(0, "a"), 1: stored(1, "b")})
    assert (made.score, made.similarity) == (0.9, 0.2)
    assert (made.first_chunk, made.last_chunk, made.text) == (0, 1, "a\nb")
    assert (made.document_id, made.title, made.source, made.metadata) == (
        *("doc", "Title", "/x"),
        {"a": 1},
    )
