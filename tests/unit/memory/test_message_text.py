"""Messages as text: whatever a client sends, Postgres takes it."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.memory.message_text import MAX_TEXT_BYTES, beside_text, clean, kept, text_of

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=9,
)
MESSAGE = st.fixed_dictionaries(
    {},
    optional={
        "content": JSON,
        "name": JSON,
        "tool_call_id": JSON,
        "tool_calls": st.lists(
            st.dictionaries(st.sampled_from(["id", "type", "function", "custom"]), JSON)
        ),
        "audio": JSON,
        "refusal": JSON,
    },
)


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": "hi"}, "hi"),
        ({"content": None}, ""),
        ({"content": None, "refusal": "I will not."}, "I will not."),
        ({"content": None, "audio": {"transcript": "spoken"}}, "spoken"),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "a\nb"),
        ({"content": [{"type": "image_url", "image_url": {"url": "data:…"}}]}, "[image]"),
        ({"content": [{"type": "input_audio", "input_audio": {}}]}, "[audio]"),
        ({"content": [{"type": "file", "file": {"filename": "a.pdf"}}]}, "[file: a.pdf]"),
        ({"content": [{"type": "file", "file": {"file_data": "…"}}]}, "[file]"),
        ({"content": [{"type": "refusal", "refusal": "no"}]}, "no"),
        (
            {"content": [{"type": "hologram"}, {"type": "B\nAD"}, {}, 7]},
            "[hologram]\n[part]\n[part]\n",
        ),
    ],
)
def test_what_a_message_says(message: JsonObject, text: str) -> None:
    assert text_of(message) == text


def test_surrogate_pairs_are_joined_and_lone_ones_replaced() -> None:
    assert clean("\ud83d\ude00 \ud83d \0") == "\U0001f600 \ufffd "


@given(MESSAGE)
def test_every_message_can_be_stored(message: JsonObject) -> None:
    text, extra = text_of(message), beside_text(message)
    for told in (text, orjson.dumps(extra).decode()):
        told.encode()
        assert "\0" not in told
        assert "\\u0000" not in told


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(1, 9))
def test_a_kept_text_is_bounded_and_begins_as_it_did(text: str, times: int) -> None:
    whole = text * times * 10_000
    cut = kept(whole)
    assert len(cut.encode()) <= MAX_TEXT_BYTES + 60
    assert cut == whole or cut.rpartition("\n[cut here")[0] == whole[: cut.rindex("\n[cut here")]


def test_tool_calls_are_kept_so_that_they_can_be_sent_again() -> None:
    calls: Json = [
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
        {"id": "2", "type": "custom", "custom": {"name": "g", "input": "x\0y"}},
        {"id": "3", "index": 0, "function": {"name": "h", "arguments": "9" * 70_000}},
    ]
    extra = beside_text({"content": None, "tool_calls": calls})
    assert extra is not None
    first, second, third = extra["tool_calls"]
    assert first == calls[0]
    assert second["custom"] == {"name": "g", "input": "xy"}
    assert third["type"] == "function"
    assert orjson.loads(third["function"]["arguments"]) == {"ailb": "arguments too long to be kept"}


def test_a_plain_message_has_nothing_beside_its_text() -> None:
    assert beside_text({"role": "user", "content": "hi", "name": ""}) is None
