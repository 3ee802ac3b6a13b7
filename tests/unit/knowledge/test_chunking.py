"""Pieces: all of the text, in order, none too long, cut where a reader would."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailb_server.knowledge.extraction.chunking import Piece, pieces
from ailb_server.knowledge.extraction.extracted import Extracted
from ailb_server.knowledge.extraction.markdown_text import extract_markdown

WORDS = st.sampled_from(
    [
        *("a", "word", "sentence.", "What?", "x" * 40, "x" * 300, "\n", "\n\n", "\n# Head\n"),
        *(
            "## Sub\n\n",
            "- item\n",
            "漢字かな。",
            "ภาษาไทย",
            "e\u0301",
            "👩‍👩‍👧",
            "   ",
            "\t",
            "...",
        ),
        *("\n```\n# code\n```\n", "Under\n====\n", "# " + "long title " * 30 + "\n"),
    ]
)
TEXTS = st.lists(WORDS, max_size=200).map(" ".join) | st.text(max_size=2000)
SIZES = st.integers(100, 400).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, size // 2))
)


def cut(text: str, size: int, overlap: int, *, markdown: bool = True) -> list[Piece]:
    document = extract_markdown(text.encode(), "utf-8") if markdown else Extracted(text)
    return list(pieces(document, size, overlap))


def ink(text: str) -> str:
    return re.sub(r"\s+", "", text)


@settings(max_examples=300, deadline=None)
@given(TEXTS, SIZES)
def test_pieces_are_all_of_the_text_and_none_is_too_long(text: str, sizes: tuple[int, int]) -> None:
    document = extract_markdown(text.encode(errors="replace"), "utf-8")
    found = list(pieces(document, *sizes))
    assert ink("".join(piece.text[piece.overlap :] for piece in found)) == ink(document.text)
    for piece in found:
        assert len(piece.text) <= sizes[0]
        assert piece.text[piece.overlap :].strip()
        assert piece.text == piece.text.strip()
    assert found == list(pieces(document, *sizes))


@settings(max_examples=200, deadline=None)
@given(TEXTS, SIZES)
def test_what_a_piece_repeats_is_the_end_of_the_one_before(
    text: str, sizes: tuple[int, int]
) -> None:
    found = cut(text.encode(errors="replace").decode(), *sizes, markdown=False)
    for before, after in pairwise(found):
        assert after.overlap <= sizes[1]
        assert before.text.endswith(after.text[: after.overlap])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text("abcdef", min_size=1, max_size=49), max_size=300), SIZES)
def test_no_word_is_cut_that_fits(words: list[str], sizes: tuple[int, int]) -> None:
    for piece in cut(" ".join(words), *sizes, markdown=False):
        assert set(piece.text.split()) <= set(words)


def test_a_piece_ends_with_a_paragraph_rather_than_a_sentence() -> None:
    text = "One two three. " * 5 + "\n\n" + "Four five six. " * 8
    assert cut(text, 150, 0)[0].text == ("One two three. " * 5).strip()


def test_a_piece_ends_with_a_sentence_rather_than_a_word() -> None:
    found = cut("This is a sentence of some length. " * 6, 100, 0)
    assert all(piece.text.endswith(".") for piece in found)


def test_a_piece_tells_the_headings_it_stands_under() -> None:
    text = f"# Manual\n\n## Setup\n\n{'Do this now. ' * 20}\n\n## Use\n\nGo."
    first, second = cut(text, 200, 30)
    assert first.text.startswith("# Manual\n\n## Setup\n\nDo this")
    assert second.text.startswith("Manual > Setup\n\nDo this now. ")
    assert second.text.endswith("## Use\n\nGo.")
    beside = f"# Manual\n\n## Setup\n\n{'Do this now. ' * 12}\n\n## Use\n\n{'Go on. ' * 12}"
    assert any(piece.text.startswith("Manual\n\n## Use\n\nGo") for piece in cut(beside, 120, 0))


def test_a_heading_stays_with_what_it_heads() -> None:
    text = f"# A\n\n{'Words of a. ' * 8}\n\n# B\n\n{'Words of b. ' * 14}"
    found = cut(text, 120, 0)
    assert [piece.text.startswith("# B\n\nWords") for piece in found].count(True) == 1
    assert not any(piece.text.endswith("# B") for piece in found)


def test_languages_without_spaces_are_cut_after_a_sentence() -> None:
    found = cut("これは長い文章です。" * 40, 105, 20)
    assert all(piece.text.endswith("。") for piece in found)
    assert all(piece.overlap in {0, 20} for piece in found)


def test_what_is_one_character_is_not_cut() -> None:
    text = "e\u0301" * 400
    assert not any(piece.text.startswith("\u0301") for piece in cut(text, 101, 11))


@pytest.mark.parametrize("text", ["", " \n\t ", "\ufeff"[1:]])
def test_nothing_is_no_piece(text: str) -> None:
    assert cut(text, 100, 10) == []


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("x" * 300_000, id="a word"),
        pytest.param("." * 300_000, id="dots"),
        pytest.param(("a" + " " * 3000) * 100, id="gaps"),
        pytest.param("# h\n" * 20_000, id="headings"),
        pytest.param("\n" * 300_000 + "x", id="lines"),
    ],
)
def test_odd_texts_take_no_longer(text: str) -> None:
    # Of a quadratic algorithm, the suite's own bound on time would tell.
    assert cut(text, 1000, 100)
