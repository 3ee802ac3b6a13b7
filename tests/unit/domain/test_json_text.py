"""Halves of surrogate pairs: joined where they belong together, replaced where they do not."""

import itertools
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.json_text import StreamedJson, loads, mended

_TEXTS = st.text(alphabet='ab"\\/u\nd8é😀👍', max_size=12)


def _utf16_pieces(text: str, cuts: list[int]) -> list[str]:
    """The text as a server cuts it that counts UTF-16 units, as JavaScript does."""
    units = text.encode("utf-16-le")
    places = sorted({0, *(2 * (cut % (len(units) // 2 + 1)) for cut in cuts), len(units)})
    pieces = [units[a:b] for a, b in itertools.pairwise(places)]
    return [piece.decode("utf-16-le", "surrogatepass") for piece in pieces]


def _delta(piece: str) -> bytes:
    return json.dumps({"choices": [{"index": 0, "delta": {"content": piece}}]}).encode()


def _text(told: Any) -> str:
    text: str = told["choices"][0]["delta"]["content"]
    return text


@given(_TEXTS, st.lists(st.integers(0, 30), max_size=9))
def test_whatever_is_cut_comes_whole(text: str, cuts: list[int]) -> None:
    reader = StreamedJson()
    pieces = [_text(reader.loads(_delta(piece))) for piece in _utf16_pieces(text, cuts)]
    assert "".join(pieces) == text


@given(st.recursive(_TEXTS | st.integers(-9, 9), lambda inner: st.lists(inner, max_size=3)))
def test_what_has_no_halves_is_read_as_it_is(value: Any) -> None:
    escaped = json.dumps(value).encode()
    assert mended(escaped) == escaped
    assert loads(escaped) == StreamedJson().loads(escaped) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (rb'"\ud83d"', "\ufffd"),
        (rb'"\uDE00"', "\ufffd"),
        (rb'"a\ud83db\ude00c"', "a\ufffdb\ufffdc"),
        (rb'"\ude00\ud83d"', "\ufffd\ufffd"),
        (rb'"\ud83d\ud83d\ude00"', "\ufffd😀"),
        (rb'"\\\ud83d"', "\\\ufffd"),
        (rb'"\\ud83d"', "\\ud83d"),
        (rb'"\"\ude00"', '"\ufffd'),
    ],
)
def test_a_whole_text_has_a_replacement_for_each_half(text: bytes, told: str) -> None:
    assert loads(text) == told


@pytest.mark.parametrize("text", [b"", b"{", rb'{"a":"\ud83d"', rb'["\ud83d",]', b'"\xff\\ud83d"'])
def test_what_is_no_json_is_still_refused(text: bytes) -> None:
    with pytest.raises(orjson.JSONDecodeError):
        loads(text)
    with pytest.raises(orjson.JSONDecodeError):
        StreamedJson().loads(text)


def test_halves_find_each_other_over_events_between_them() -> None:
    reader = StreamedJson()
    told = [reader.loads(text) for text in (rb'{"a":"x\ud83d"}', b'{"b":1}', rb'{"a":"\ude00y"}')]
    assert told == [{"a": "x"}, {"b": 1}, {"a": "😀y"}]


def test_a_text_told_twice_is_joined_twice() -> None:
    reader = StreamedJson()
    assert reader.loads(rb'{"a":"\ud83d","b":["\ud83d"]}') == {"a": "", "b": [""]}
    assert reader.loads(rb'{"a":"\ude00","b":["\ude00"]}') == {"a": "😀", "b": ["😀"]}


def test_a_piece_may_end_one_pair_and_begin_the_next() -> None:
    reader = StreamedJson()
    pieces = [rb'"\ud83d"', rb'"\ude00\ud83d"', rb'"\udc4d"']
    assert "".join(reader.loads(piece) for piece in pieces) == "😀👍"


def test_halves_that_cannot_be_matched_are_never_matched_wrongly() -> None:
    reader = StreamedJson()
    pieces = [rb'"\ud83d"', rb'"\ud83c"', rb'"\ude00"', rb'"\udc4d"']
    assert [reader.loads(piece) for piece in pieces] == ["", "\ufffd", "\ufffd", "\ufffd"]
