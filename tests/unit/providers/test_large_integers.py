"""Integers beyond 64 bits, such as ids in a tool's arguments, are what they were on every way."""

from typing import Any

import pytest
from pydantic_core import from_json, to_json

from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.json_text import exact_dumps, exact_loads
from ailb_server.providers import anthropic_wire_answer, ollama_answer_wire
from ailb_server.providers.anthropic_wire_models import UNKNOWN
from ailb_server.providers.anthropic_wire_request import messages_request
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.ollama_line_wire import Mint
from ailb_server.providers.ollama_request_wire import upstream_request
from ailb_server.providers.openai_wire import translated_body
from tests.support.anthropic_upstream import MESSAGE, STREAM, sse
from tests.support.ollama_upstream import last_line
from tests.unit.doubles import chat

_BIG = 123456789012345678901234
_ARGUMENTS = '{"id":123456789012345678901234}'
_TOOL_USE = {"type": "tool_use", "id": "c", "name": "f", "input": {"id": _BIG}}
_USER = {"role": "user", "content": "q"}
_MINT = Mint(token=lambda: "t", now=lambda: 1.0)


def _called() -> ChatRequest:
    function = {"name": "f", "arguments": _ARGUMENTS}
    call = {"id": "c", "type": "function", "function": function}
    messages = [_USER, {"role": "assistant", "content": None, "tool_calls": [call]}, _USER]
    return chat(messages=messages)


def _told(message: Any) -> Any:
    (call,) = message["tool_calls"]
    return call["function"]["arguments"]


def test_in_anthropics_answer() -> None:
    chunk = anthropic_wire_answer.completion(to_json({**MESSAGE, "content": [_TOOL_USE]}), 1)
    assert _told(chunk.events[0]["choices"][0]["message"]) == _ARGUMENTS


def test_in_anthropics_stream() -> None:
    start = {"type": "content_block_start", "index": 0, "content_block": _TOOL_USE}
    event = b"event: content_block_start\ndata: %b\n\n" % to_json(start)
    reader = StreamReader(include_usage=False, created=1)
    chunk = reader.read(STREAM[0] + event + sse({"type": "content_block_stop", "index": 0}))
    assert _told(chunk.events[-1]["choices"][0]["delta"]) == _ARGUMENTS


def test_in_a_request_to_anthropic() -> None:
    sent = from_json(messages_request(_called(), "m", UNKNOWN).body)
    assert sent["messages"][1]["content"][0]["input"] == {"id": _BIG}


def test_in_ollamas_answer() -> None:
    call = {"function": {"name": "f", "arguments": {"id": _BIG}}}
    body = to_json(last_line() | {"message": {"tool_calls": [call]}})
    (answer,) = ollama_answer_wire.completion(body, "m", _MINT).events
    assert _told(answer["choices"][0]["message"]) == _ARGUMENTS
    reader = ollama_answer_wire.StreamReader("m", include_usage=False, mint=_MINT)
    deltas = [event["choices"][0]["delta"] for event in reader.read([body]).events[:-1]]
    assert [_told(delta) for delta in deltas if "tool_calls" in delta] == [_ARGUMENTS]


def test_in_a_request_to_ollama() -> None:
    sent = from_json(upstream_request(_called(), "m", 8192).body)
    assert sent["messages"][1]["tool_calls"][0]["function"]["arguments"] == {"id": _BIG}


def test_in_a_request_of_anthropics_format() -> None:
    turn = {"role": "assistant", "content": [_TOOL_USE]}
    schema = {"type": "object", "properties": {"id": {"maximum": _BIG}}}
    asked = {
        "model": "m",
        "max_tokens": 9,
        "messages": [_USER, turn, _USER],
        "tools": [{"name": "f", "input_schema": schema}],
    }
    request = parse_messages_request(to_json(asked), {}).chat
    sent = from_json(translated_body(request, "m")[0])
    assert _told(sent["messages"][1]) == _ARGUMENTS
    assert sent["tools"][0]["function"]["parameters"] == schema


@pytest.mark.parametrize(
    "text",
    [b'{"a":[1.5,-0.0,1e22,18446744073709551615],"b":null}', b"-9223372036854775809"],
)
def test_other_numbers_too(text: bytes) -> None:
    assert from_json(exact_dumps(exact_loads(text))) == from_json(text)


def test_half_a_pair_is_read_as_ever() -> None:
    assert exact_loads(b'["\\ud83d",1]') == ["�", 1]
