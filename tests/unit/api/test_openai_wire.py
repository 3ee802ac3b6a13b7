"""Which requests are refused at the door, and how."""

from typing import Any

import orjson
import pytest

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import OWN_FIELDS
from ailb_server.domain.errors import InvalidRequestError

_GOOD: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def _refused(body: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as raised:
        parse_chat_request(body)
    return raised.value


def test_a_small_request() -> None:
    body = orjson.dumps(_GOOD)
    request = parse_chat_request(body)
    assert (request.model, request.stream, request.include_usage) == ("m", False, False)
    assert request.body is body
    assert request.fields == _GOOD
    assert request.own_fields == frozenset()


def test_a_stream_with_usage() -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    request = parse_chat_request(orjson.dumps({**_GOOD, **options}))
    assert (request.stream, request.include_usage) == (True, True)


@pytest.mark.parametrize("name", sorted(OWN_FIELDS))
def test_own_fields_are_told_apart(name: str) -> None:
    body = orjson.dumps({**_GOOD, name: None, "other": 1})
    assert parse_chat_request(body).own_fields == {name}


@pytest.mark.parametrize(
    "fields",
    [
        {"unknown": {"x": [1]}, "n": None, "stop": None, "tools": None, "stream": None},
        {"stream_options": None, "temperature": 1, "top_p": 0.5, "stop": "x"},
        {"stop": ["x"], "messages": [{"role": "assistant", "content": None}]},
        {"messages": [{"role": "assistant", "tool_calls": []}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]},
        {"model": "vendor/m:1"},
    ],
)
def test_good_requests(fields: dict[str, Any]) -> None:
    parse_chat_request(orjson.dumps({**_GOOD, **fields}))


def test_invalid_json_is_told_with_its_reason_and_place() -> None:
    body = rb'{"model":"m","messages":[{"role":"user","content":"cut \ud83d"}]}'
    assert str(_refused(body)) == (
        "The body is not valid JSON: no low surrogate in string (line 1, column 56)."
    )
    assert "cut" not in str(_refused(body))


@pytest.mark.parametrize("body", [b"", b" \n", b"{", b"[]", b'"x"', b"null", b"\xff", b"{'a':1}"])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    error = _refused(body)
    assert "param" not in error.facts


def test_bad_json_is_told_by_its_place_and_not_quoted() -> None:
    error = _refused(b'{"model": "m",\n "messages": secret}')
    assert "line 2" in str(error)
    assert "secret" not in str(error)


def test_deep_nesting_is_refused() -> None:
    assert "JSON" in str(_refused(b'{"a":' * 5000 + b"1" + b"}" * 5000))


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": None}, "model"),
        ({"model": 4}, "model"),
        ({"model": ""}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": "x"}, {"content": "x"}]}, "messages[1].role"),
        ({"messages": [{"role": 1, "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": {}}]}, "messages[0].content"),
        ({"stream": "true"}, "stream"),
        ({"stream": 1}, "stream"),
        ({"stream_options": []}, "stream_options"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_p": {}}, "top_p"),
        ({"n": 1.5}, "n"),
        ({"n": True}, "n"),
        ({"max_tokens": "10"}, "max_tokens"),
        ({"max_completion_tokens": 10.0}, "max_completion_tokens"),
        ({"stop": 1}, "stop"),
        ({"tools": {}}, "tools"),
        ({"session_id": 1}, "session_id"),
        ({"rag_collection": []}, "rag_collection"),
        ({"rag_top_k": "3"}, "rag_top_k"),
        ({"rag_filter": []}, "rag_filter"),
        ({"rag_min_score": "0.5"}, "rag_min_score"),
    ],
)
def test_a_wrong_field_is_named(fields: dict[str, Any], param: str) -> None:
    assert _refused(orjson.dumps({**_GOOD, **fields})).facts["param"] == param
