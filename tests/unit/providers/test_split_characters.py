"""An emoji of which two events of a stream have one half each, as servers write it that count
UTF-16 units: relayed as it is, and one character wherever the answer is translated."""

import orjson

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.anthropic_wire_answer import message_body
from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.api.messages import ChunkReader, completion_of
from ailb_server.domain.chat import ChatChunk
from ailb_server.providers import openai_wire
from ailb_server.providers.anthropic_relay import RelayReader, relayed_completion
from ailb_server.providers.anthropic_wire_stream import StreamReader as AnthropicReader
from tests.wire.ollama_cases import told as told_of_ollama

_DELTA = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n'
_OPENAI = _DELTA % rb"a\ud83d", _DELTA % rb"\ude00b", b"data: [DONE]\n\n"
_TEXT = b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}'
_ANTHROPIC = tuple(
    b"data: %b\n\n" % data
    for data in (
        b'{"type":"message_start","message":{"id":"m"}}',
        b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        _TEXT % rb"a\ud83d",
        _TEXT % rb"\ude00b",
        b'{"type":"message_stop"}',
    )
)
_HALF = rb'{"id":"c","choices":[{"message":{"content":"a\ud83d"},"finish_reason":"stop"}]}'


def _relayed() -> list[ChatChunk]:
    reader = openai_wire.StreamReader(include_usage=False)
    return [reader.read(event) for event in _OPENAI]


def _content(chunks: list[ChatChunk]) -> str:
    choices = [choice for c in chunks for event in c.events for choice in event["choices"]]
    return "".join(choice["delta"].get("content", "") for choice in choices)


def test_openais_bytes_stay() -> None:
    chunks = _relayed()
    assert tuple(chunk.wire for chunk in chunks) == _OPENAI
    assert _content(chunks) == "a😀b"


def test_in_the_same_read_too() -> None:
    chunk = openai_wire.StreamReader(include_usage=False).read(b"".join(_OPENAI))
    assert chunk.wire == b"".join(_OPENAI)
    assert _content([chunk]) == "a😀b"


def test_the_typed_face_has_the_character() -> None:
    reader = ChunkReader()
    chunks = [reader.read(event, None) for chunk in _relayed() for event in chunk.events]
    read = [pb.ChatCompletionChunk.FromString(chunk.SerializeToString()) for chunk in chunks]
    parts = [part for chunk in read for part in chunk.choices[0].delta.content]
    assert "".join(part.text for part in parts) == "a😀b"


def test_anthropics_face_has_the_character() -> None:
    writer = StreamWriter()
    wire = b"".join(writer.write(chunk) for chunk in _relayed()) + writer.finish()
    events = [orjson.loads(event.partition(b"data: ")[2]) for event in wire.split(b"\n\n")[:-1]]
    assert "".join(e["delta"]["text"] for e in events if "text" in e.get("delta", {})) == "a😀b"


def test_anthropics_bytes_stay() -> None:
    reader = RelayReader(created=0)
    assert tuple(reader.read(event).wire for event in _ANTHROPIC) == _ANTHROPIC


def test_anthropics_stream_translated_has_the_character() -> None:
    reader = AnthropicReader(include_usage=False, created=0)
    assert _content([reader.read(event) for event in _ANTHROPIC]) == "a😀b"


def test_ollamas_stream_translated_has_the_character() -> None:
    lines = [
        b'{"message":{"content":"a\\ud83d"}}\n',
        b'{"message":{"content":"\\ude00b"}}\n',
        b'{"done":true}\n',
    ]
    wire, events, _ = told_of_ollama(lines, include_usage=False)
    assert _content([ChatChunk(events, wire)]) == "a😀b"


def test_half_a_character_in_a_whole_answer_is_relayed() -> None:
    chunk = openai_wire.completion(_HALF)
    assert chunk.wire == _HALF
    completion = completion_of(chunk.events[0], None)
    assert pb.ChatCompletion.FromString(completion.SerializeToString()) == completion
    assert orjson.loads(message_body(chunk))["content"][0]["text"] == "a\ufffd"
    body = rb'{"type":"message","content":[{"type":"text","text":"a\ud83d"}]}'
    assert relayed_completion(body, 0).wire == body


def test_half_a_character_in_a_calls_arguments_is_replaced_where_they_are_read() -> None:
    function = {"name": "f", "arguments": r'{"q":"a\ud83d"}'}
    choice = {"message": {"tool_calls": [{"id": "1", "function": function}]}}
    body = message_body(ChatChunk(({"id": "c", "choices": [choice]},), b""))
    assert orjson.loads(body)["content"][0]["input"] == {"q": "a\ufffd"}
