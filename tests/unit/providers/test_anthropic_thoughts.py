"""A model that thinks amid its answer gets each thought back at its place, whoever asked."""

from typing import Any

import orjson
import pytest

from ailb_server.api.anthropic_wire_answer import message_body
from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.domain.chat import ChatChunk, Json
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_models import UNKNOWN
from ailb_server.providers.anthropic_wire_request import messages_request
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.openai_wire import MalformedAnswerError
from tests.support.anthropic_upstream import MESSAGE, sse
from tests.unit.doubles import chat
from tests.wire.joining import joined, joined_message


def _thought(text: str) -> Json:
    return {"type": "thinking", "thinking": text, "signature": f"sig-{text}"}


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _call(identity: str) -> Json:
    return {"type": "tool_use", "id": identity, "name": "f", "input": {"x": 1}}


_REDACTED = {"type": "redacted_thinking", "data": "b3BhcXVl"}
_ANSWERS = [
    [_thought("t1"), _text("A"), _thought("t2"), _call("c1")],
    [_thought("t1"), _text("A"), _thought("t2"), _REDACTED, _text("B 😀"), _call("c1")],
    [_text("A"), _REDACTED, _call("c1"), _thought("t1"), _call("c2")],
    [_thought("t1"), _thought("t2"), _text("A")],
    [_text("A"), _call("c1")],
]
_EACH = pytest.mark.parametrize("content", _ANSWERS)


def _sent_back(message: Json) -> Json:
    user = {"role": "user", "content": "q"}
    sent = orjson.loads(messages_request(chat(messages=[user, message]), "m", UNKNOWN).body)
    return sent["messages"][1]["content"]


def _whole(content: Json) -> ChatChunk:
    return completion(orjson.dumps({**MESSAGE, "content": content}), 1)


def _events(content: Json) -> list[Json]:
    events: list[Json] = [{"type": "message_start", "message": {**MESSAGE, "content": []}}]
    for index, block in enumerate(content):
        start, deltas = _streamed(block)
        events += [{"type": "content_block_start", "index": index, "content_block": start}]
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events += [{"type": "content_block_stop", "index": index}]
    stop = {"stop_reason": "end_turn", "stop_sequence": None}
    usage = MESSAGE["usage"]
    return [*events, {"type": "message_delta", "delta": stop, "usage": usage}, _STOP]


_STOP = {"type": "message_stop"}


def _streamed(block: Any) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "thinking":
            thought = {"type": "thinking_delta", "thinking": block["thinking"]}
            signature = {"type": "signature_delta", "signature": block["signature"]}
            return {**block, "thinking": "", "signature": ""}, [thought, signature]
        case "text":
            return {**block, "text": ""}, [{"type": "text_delta", "text": block["text"]}]
        case "tool_use":
            part = orjson.dumps(block["input"]).decode()
            return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": part}]
    return block, []


def _chunks(content: Json) -> ChatChunk:
    reader = StreamReader(include_usage=True, created=1)
    return reader.read(b"".join(map(sse, _events(content))))


@_EACH
def test_openais_client_sends_back_the_order_of_a_whole_answer(content: Json) -> None:
    message = _whole(content).events[0]["choices"][0]["message"]
    assert _sent_back(message) == content


@_EACH
def test_openais_client_sends_back_the_order_of_a_stream(content: Json) -> None:
    message = joined(_chunks(content).events)["choices"][0]["message"]
    assert _sent_back(message) == content


@_EACH
def test_anthropics_client_is_told_the_order(content: Json) -> None:
    assert orjson.loads(message_body(_whole(content)))["content"] == content
    writer = StreamWriter()
    wire = writer.write(_chunks(content)) + writer.finish()
    assert joined_message(wire)["content"] == content


@pytest.mark.parametrize("block", ["x", None, {**_call("c"), "input": [1]}, {"type": "text"}])
def test_malformed_content_is_refused(block: Json) -> None:
    with pytest.raises(MalformedAnswerError):
        _whole([block])
