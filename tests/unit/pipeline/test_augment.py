"""What is put into a request is there once, at its place, and every other byte stays."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.pipeline.augment import augmented

NOTE = '--- memory ---\n"quoted" and \\ and ☃'
TURNS = (
    {"role": "user", "content": "My name is Alice."},
    {"role": "assistant", "content": "Hello, Alice."},
)
NOTES = {"role": "system", "content": NOTE}


def messages(*said: dict[str, Any]) -> bytes:
    return orjson.dumps({"model": "m", "messages": said, "temperature": 1})


def user(text: str = "hi") -> dict[str, Any]:
    return {"role": "user", "content": text}


def test_without_context_the_request_is_the_same_object() -> None:
    request = parse_chat_request(messages(user()))
    assert augmented(request, (), ()) is request


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ((user(),), 0),
        (({"role": "system", "content": "S"}, user()), 1),
        (({"role": "developer", "content": "D"}, {"role": "system", "content": "S"}, user()), 2),
        ((user(), {"role": "system", "content": "late"}), 0),
        (({"role": "system", "content": "S"},), 1),
    ],
)
def test_the_place_is_behind_the_leading_system_messages(
    said: tuple[dict[str, Any], ...], place: int
) -> None:
    request = augmented(parse_chat_request(messages(*said)), [NOTE], TURNS)
    wanted = [*said[:place], NOTES, *TURNS, *said[place:]]
    assert request.fields["messages"] == wanted
    assert orjson.loads(request.body)["messages"] == wanted


def test_the_callers_bytes_stay_as_they_are() -> None:
    body = (
        b'{ "model":"m",\n "messages": [ {"role":"user", "content":"a,]}\\"" ,"n":1e3} ,'
        b'{"role":"user","content":[{"type":"text","text":"\\u00e9"}]} ] , "top_p":0.10 }'
    )
    sent = augmented(parse_chat_request(body), [NOTE], ()).body
    for kept in (
        b'{"role":"user", "content":"a,]}\\"" ,"n":1e3}',
        b'{"role":"user","content":[{"type":"text","text":"\\u00e9"}]}',
        b'"top_p":0.10',
    ):
        assert kept in sent


@given(
    st.lists(st.text(max_size=8), min_size=1, max_size=4),
    st.integers(min_value=0, max_value=3),
    st.lists(st.text(max_size=8), max_size=3),
)
def test_any_request_stays_valid(texts: list[str], leading: int, notes: list[str]) -> None:
    system = [{"role": "system", "content": f"s{n}"} for n in range(leading)]
    said = [*system, *(user(text) for text in texts)]
    request = augmented(parse_chat_request(messages(*said)), notes, TURNS)
    assert orjson.loads(request.body) == {**request.fields}
    assert len(request.fields["messages"]) == len(said) + len(notes) + len(TURNS)


@pytest.mark.parametrize(
    ("system", "before"),
    [
        (None, []),
        ("You are terse.", [{"type": "text", "text": "You are terse."}]),
        (
            [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
            [{"type": "text", "text": "S", "cache_control": {"type": "ephemeral"}}],
        ),
    ],
)
def test_a_request_in_anthropics_format_keeps_its_format(system: Any, before: list[Any]) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [user("What is my name?")]}
    if system is not None:
        body["system"] = system
    calls = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    chat = parse_messages_request(orjson.dumps(body), {}).chat
    request = augmented(chat, [NOTE], [*TURNS, calls])
    sent = orjson.loads(request.body)
    assert sent["system"] == [*before, {"type": "text", "text": NOTE}]
    assert sent["messages"] == [*TURNS, user("What is my name?")]
    assert request.wire == "anthropic"
