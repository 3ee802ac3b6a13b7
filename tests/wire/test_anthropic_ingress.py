"""Anthropic's format as callers speak it, case by case: what is read, and what they get.

A folder of `tests/wire/anthropic_ingress` is a case: `request.json`, `openai_request.json`, with
what was ignored in `ignored.json`; and, where the case has an answer, `completion.json` with
`answer.json`, or `chunks.sse` with `answer.sse`.
"""

import json
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import Message
from openai.types.chat import completion_create_params
from pydantic import TypeAdapter

from ailb_server.api.anthropic_wire_answer import message_body
from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.domain.chat import ChatChunk, Json, JsonObject
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers import openai_usage, openai_wire
from ailb_server.providers.sse import EventCutter
from tests.wire.joining import joined_message, message_events

CASES = sorted(p.parent for p in Path(__file__).parent.glob("anthropic_ingress/*/request.json"))
STREAMS = [case for case in CASES if (case / "chunks.sse").exists()]
WHOLE = [case for case in CASES if (case / "completion.json").exists()]
_PARAMS: TypeAdapter[Any] = TypeAdapter(completion_create_params.CompletionCreateParams)


def _cases(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def _json(path: Path) -> Json:
    return orjson.loads(path.read_bytes())


def _written(reads: list[bytes]) -> bytes:
    """What the caller gets of an upstream's stream."""
    cutter, reader = EventCutter(), openai_wire.StreamReader(include_usage=True)
    writer = StreamWriter()
    blocks = [cutter.feed(read) for read in reads]
    pieces = [writer.write(reader.read(block)) for block in [*blocks, cutter.finish()] if block]
    return b"".join([*pieces, writer.finish()])


def _completion(completion: JsonObject) -> JsonObject:
    usage = openai_usage.usage_of(completion.get("usage"))
    told: JsonObject = orjson.loads(message_body(ChatChunk((completion,), b"", usage)))
    return told


def test_there_are_cases() -> None:
    assert len(STREAMS) > 8
    assert len(WHOLE) > 8


@_cases(CASES)
def test_what_is_read(case: Path) -> None:
    asked = parse_messages_request((case / "request.json").read_bytes(), {})
    asked.chat.require_translatable()
    body, unsent = openai_wire.sent_body(asked.chat, "gpt-x")
    assert orjson.loads(body) == _json(case / "openai_request.json")
    ignored = case / "ignored.json"
    assert sorted({*asked.ignored, *unsent}) == (_json(ignored) if ignored.exists() else [])


@_cases(CASES)
def test_what_is_read_is_of_the_official_type(case: Path) -> None:
    _PARAMS.validate_python(_json(case / "openai_request.json"))


@_cases(WHOLE)
def test_a_whole_answer(case: Path) -> None:
    answer = _completion(_json(case / "completion.json"))
    assert answer == _json(case / "answer.json")
    Message.model_validate(answer, strict=True)


@_cases(STREAMS)
def test_a_streamed_answer(case: Path) -> None:
    wire = _written([(case / "chunks.sse").read_bytes()])
    assert wire == (case / "answer.sse").read_bytes()
    Message.model_validate(joined_message(wire), strict=True)


@_cases(STREAMS)
def test_blocks_open_and_close_one_by_one(case: Path) -> None:
    events = list(message_events((case / "answer.sse").read_bytes()))
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"]
    index, is_open = -1, False
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            assert not is_open
            index, is_open = index + 1, True
        assert is_open
        assert event["index"] == index
        is_open = event["type"] != "content_block_stop"
    assert not is_open


def _chunk(*calls: JsonObject) -> ChatChunk:
    return ChatChunk(({"id": "c", "choices": [{"delta": {"tool_calls": list(calls)}}]},), b"")


@pytest.mark.parametrize(
    "late",
    [
        {"index": 0, "function": {"arguments": "1"}},
        {"index": 0, "id": "c0", "function": {"name": "a", "arguments": "1"}},
        {"index": 2, "function": {"arguments": "1"}},
        {"index": 1, "function": "a"},
        "a",
    ],
)
def test_calls_that_cannot_be_told_apart_are_an_error_not_a_loss(late: Any) -> None:
    writer = StreamWriter()
    writer.write(_chunk({"index": 0, "id": "c0", "function": {"name": "a"}}))
    writer.write(_chunk({"index": 1, "id": "c1", "function": {"name": "b"}}))
    with pytest.raises(UpstreamUnavailableError):
        writer.write(_chunk(late))


def test_large_integers_in_arguments_stay_exact() -> None:
    call = {"id": "c", "function": {"name": "a", "arguments": '{"n": 12345678901234567890123}'}}
    choice = {"message": {"tool_calls": [call]}, "finish_reason": "tool_calls"}
    body = message_body(ChatChunk(({"id": "1", "choices": [choice]},), b""))
    assert json.loads(body)["content"][0]["input"] == {"n": 12345678901234567890123}


def test_a_stream_without_an_answer_is_an_error() -> None:
    with pytest.raises(UpstreamUnavailableError):
        StreamWriter().finish()


@pytest.mark.parametrize(
    "completion",
    [
        {},
        {"choices": []},
        {"choices": ["x"]},
        {"choices": [{"message": {"content": 1}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": "a", "arguments": "x"}}]}}]},
        {"choices": [{"message": {"tool_calls": [{"function": {"name": "a", "arguments": "1"}}]}}]},
    ],
)
def test_a_malformed_completion_is_the_providers_fault(completion: JsonObject) -> None:
    with pytest.raises(UpstreamUnavailableError):
        _completion(completion)
