"""JSON as others write it: any white space, escapes, number forms, repeated names."""

import json
from collections.abc import Callable
from typing import TypeAlias

from hypothesis import strategies as st

Draw: TypeAlias = Callable[[st.SearchStrategy[str]], str]

NAMES = ("model", "stream", "stream_options", "a", "é", 'q"{', "\\", "")
_SPACE = st.sampled_from(["", "", "", " ", "\n", "\t", "\r\n", "  \n "])
_NUMBERS = st.sampled_from(["0", "-0.0", "1e3", "0.10", "1E-7", "12345678901234567890123", "-17"])
_TEXTS = st.text(alphabet='ab"\\{}[],:/\n\x01é😀', max_size=8)


@st.composite
def strings(draw: Draw, texts: st.SearchStrategy[str] = _TEXTS) -> str:
    """A string, some characters escaped though they need not be."""
    return '"' + "".join(draw(_spelled(character)) for character in draw(texts)) + '"'


def _spelled(character: str) -> st.SearchStrategy[str]:
    # json.dumps spells outside the BMP as a pair of surrogates.
    spellings = {json.dumps(character)[1:-1], json.dumps(character, ensure_ascii=False)[1:-1]}
    if ord(character) < 0x10000:
        spellings.add(f"\\u{ord(character):04X}")
    return st.sampled_from(sorted(spellings))


def _object_of(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return members(values).flatmap(lambda pairs: rendered([member for _, member in pairs]))


@st.composite
def _arrays(draw: Draw, values: st.SearchStrategy[str]) -> str:
    items = [draw(values) for _ in range(len(draw(st.text(max_size=3))))]
    return "[" + ",".join(draw(_SPACE) + item + draw(_SPACE) for item in items) + draw(_SPACE) + "]"


@st.composite
def rendered(draw: Draw, pieces: list[str]) -> str:
    """An object of these members, with white space around them."""
    inner = ",".join(draw(_SPACE) + piece + draw(_SPACE) for piece in pieces)
    return "{" + inner + draw(_SPACE) + "}"


VALUES: st.SearchStrategy[str] = st.deferred(
    lambda: st.one_of(
        _NUMBERS,
        st.sampled_from(["true", "false", "null"]),
        strings(),
        _object_of(VALUES),
        _arrays(VALUES),
    )
)


@st.composite
def _member(draw: Draw, values: st.SearchStrategy[str]) -> tuple[str, str]:
    name = draw(st.sampled_from(NAMES))
    text = draw(strings(st.just(name))) + draw(_SPACE) + ":" + draw(_SPACE) + draw(values)
    return name, text


def members(
    values: st.SearchStrategy[str] = VALUES,
) -> st.SearchStrategy[list[tuple[str, str]]]:
    """Members of an object: each its name, and its text without the white space around it."""
    return st.lists(_member(values), max_size=4)
