"""Each thought goes back to its place in the answer."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.thoughts import interleaved, native, placed

_TEXTS = st.text(alphabet="aé😀 ", max_size=5).map(lambda text: text + ".")
_KINDS = st.lists(st.sampled_from(["thinking", "text", "call"]), max_size=8)


def _text(text: str) -> Any:
    return {"type": "text", "text": text}


@given(_KINDS, st.data())
def test_any_order_is_kept(kinds: list[str], data: st.DataObject) -> None:
    """But for texts behind calls without a thought between: OpenAI's message has no order there."""
    answer: list[Any] = []
    texts = ""
    thoughts: list[Any] = []
    calls: list[Any] = []
    for number, kind in enumerate(kinds):
        last = answer[-1]["type"] if answer else ""
        if kind == "thinking":
            block = {"type": "thinking", "thinking": str(number), "signature": "s"}
            thoughts.append(placed(block, len(texts), len(calls)))
        elif kind == "call":
            block = {"type": "tool_use", "id": str(number)}
            calls.append(block)
        elif last in ("text", "tool_use"):
            continue
        else:
            block = _text(data.draw(_TEXTS))
            texts += block["text"]
        answer.append(block)
    said = [_text(texts)] if texts else []
    assert interleaved(thoughts, said, calls) == answer


def test_thoughts_without_a_place_come_first() -> None:
    thoughts = [{"type": "thinking", "index": 0}, {"type": "thinking", "index": 1, "after": "x"}]
    told = interleaved(thoughts, [_text("a")], [{"type": "tool_use"}])
    assert told == [
        {"type": "thinking"},
        {"type": "thinking"},
        _text("a"),
        {"type": "tool_use"},
    ]


def test_a_text_of_nothing_but_space_stays_behind_its_thought() -> None:
    thought = {"type": "thinking"}
    assert interleaved([thought], [_text(" ")], []) == [thought, _text(" ")]


def test_places_beyond_what_there_is_are_the_end() -> None:
    thought = placed({"type": "thinking"}, 99, 9)
    told = interleaved([thought], [_text("a")], [{"type": "tool_use"}])
    assert told == [_text("a"), {"type": "tool_use"}, {"type": "thinking"}]


def test_places_from_a_struct_are_floats() -> None:
    thought = {"type": "thinking", "after": [1.0, 0.0]}
    assert interleaved([thought], [_text("ab")], []) == [_text("a"), native(thought), _text("b")]


def test_no_text_of_nothing_but_space_is_made_and_marks_stay_at_the_end() -> None:
    marked = {**_text("a "), "cache_control": {"type": "ephemeral"}}
    thought = placed({"type": "thinking"}, 1, 0)
    assert interleaved([thought], [marked], []) == [{**marked, "text": "a"}, {"type": "thinking"}]
