"""Edits in a JSON text say what the same edits in the parsed object say, and touch nothing else."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.json_splice import append, splice
from tests.unit.providers.json_texts import NAMES, VALUES, members, rendered

_EDITS = st.dictionaries(
    st.sampled_from([*NAMES, "new", "ünew"]),
    st.one_of(st.none(), VALUES.map(str.encode)),
    min_size=1,
    max_size=3,
)


@given(st.data(), members(), _EDITS)
def test_edits_the_text_as_the_object(
    data: st.DataObject, pairs: list[tuple[str, str]], edits: dict[str, bytes | None]
) -> None:
    text = data.draw(rendered([member for _, member in pairs])).encode()
    wanted = orjson.loads(text)
    for name, value in edits.items():
        wanted.pop(name, None)
        if value is not None:
            wanted[name] = orjson.loads(value)

    edited = splice(text, edits)

    assert orjson.loads(edited) == wanted
    untouched = [member.encode() for name, member in pairs if name not in edits]
    assert b",".join(untouched) in edited or _in_order(untouched, edited)


def _in_order(pieces: list[bytes], text: bytes) -> bool:
    at = 0
    for piece in pieces:
        at = text.find(piece, at)
        if at < 0:
            return False
        at += len(piece)
    return True


@given(st.data(), members())
def test_no_edit_gives_the_very_text(data: st.DataObject, pairs: list[tuple[str, str]]) -> None:
    text = data.draw(rendered([member for _, member in pairs])).encode()
    assert splice(text, {}) is text


@given(st.data(), members().filter(bool), VALUES)
def test_append_adds_a_member(
    data: st.DataObject, pairs: list[tuple[str, str]], value: str
) -> None:
    text = (data.draw(rendered([member for _, member in pairs])) + "\n ").encode()
    longer = append(text, "new", value.encode())
    assert orjson.loads(longer) == {**orjson.loads(text), "new": orjson.loads(value)}
    assert longer.startswith(text.rstrip()[:-1])


@pytest.mark.parametrize(
    ("text", "edits", "edited"),
    [
        (b'{"model":"a","n":1e3}', {"model": b'"b"'}, b'{"model":"b","n":1e3}'),
        (b'{ "model" : "a" , "x":0.10 }', {"model": b'"b"'}, b'{"model":"b","x":0.10}'),
        (b'{"m\\u006fdel":"a","x":1}', {"model": b'"b"'}, b'{"model":"b","x":1}'),
        (b'{"a":{"model":1},"model":2}', {"model": b"3"}, b'{"a":{"model":1},"model":3}'),
        (b'{"a":"}\\",\\"model\\":1","x":2}', {"x": None}, b'{"a":"}\\",\\"model\\":1"}'),
        (b'{"x":1,"y":2,"x":3}', {"x": b"4"}, b'{"x":4,"y":2}'),
        (b'{"x":1}', {"x": None}, b"{}"),
        (b"{}", {"x": b"1"}, b'{"x":1}'),
    ],
)
def test_cases(text: bytes, edits: dict[str, bytes | None], edited: bytes) -> None:
    assert splice(text, edits) == edited
