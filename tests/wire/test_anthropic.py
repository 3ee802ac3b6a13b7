"""Anthropic's wire format, case by case: what is sent upstream, and what the caller gets.

A folder of `tests/wire/anthropic` is a case: `request.json`, `upstream_request.json`, with what was
ignored in `ignored.json`, `upstream_response.json` or `.sse`, and `answer.json` or `.sse`;
`model.json` is what the provider lists of the model, where that matters.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import message_create_params
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, TokenUsage
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_models import UNKNOWN, facts_of
from ailb_server.providers.anthropic_wire_request import MessagesRequest, messages_request
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.openai_wire import usage_of
from ailb_server.providers.sse import EventCutter

CREATED = 1_700_000_000
CASES = sorted(path.parent for path in Path(__file__).parent.glob("anthropic/*/request.json"))
STREAMS = [case for case in CASES if (case / "upstream_response.sse").exists()]
WHOLE = [case for case in CASES if (case / "upstream_response.json").exists()]
_PARAMS: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)


def _cases(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def _json(path: Path) -> Json:
    return orjson.loads(path.read_bytes())


def _request(case: Path) -> ChatRequest:
    return parse_chat_request((case / "request.json").read_bytes())


def _sent(case: Path) -> MessagesRequest:
    listed = case / "model.json"
    facts = facts_of(_json(listed)) if listed.exists() else UNKNOWN
    return messages_request(_request(case), "claude-test", facts)


def _answered(case: Path, reads: list[bytes]) -> list[ChatChunk]:
    cutter = EventCutter()
    reader = StreamReader(include_usage=_request(case).include_usage, created=CREATED)
    chunks = [reader.read(block) for read in [*reads, b""] if (block := _cut(cutter, read))]
    assert reader.done
    return chunks


def _cut(cutter: EventCutter, read: bytes) -> bytes:
    return cutter.feed(read) if read else cutter.finish()


def _chunks(wire: bytes) -> Iterator[bytes]:
    *events, done, rest = wire.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    yield from (event.removeprefix(b"data: ") for event in events)


def test_there_are_cases() -> None:
    assert len(STREAMS) > 5
    assert len(WHOLE) > 15


@_cases(CASES)
def test_what_is_sent(case: Path) -> None:
    sent = _sent(case)
    assert orjson.loads(sent.body) == _json(case / "upstream_request.json")
    ignored = case / "ignored.json"
    assert list(sent.ignored) == (_json(ignored) if ignored.exists() else [])


@_cases(CASES)
def test_what_is_sent_is_of_the_official_type(case: Path) -> None:
    _PARAMS.validate_json(_sent(case).body)


@_cases(WHOLE)
def test_a_whole_answer(case: Path) -> None:
    chunk = completion((case / "upstream_response.json").read_bytes(), CREATED)
    assert orjson.loads(chunk.wire) == _json(case / "answer.json")
    assert list(chunk.events) == [_json(case / "answer.json")]
    ChatCompletion.model_validate_json(chunk.wire, strict=True)
    assert chunk.usage == usage_of(chunk.events[0]["usage"])


@_cases(STREAMS)
def test_a_streamed_answer(case: Path) -> None:
    chunks = _answered(case, [(case / "upstream_response.sse").read_bytes()])
    assert b"".join(chunk.wire for chunk in chunks) == (case / "answer.sse").read_bytes()


@_cases(STREAMS)
def test_the_official_client_can_join_a_streamed_answer(case: Path) -> None:
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for text in _chunks((case / "answer.sse").read_bytes()):
        state.handle_chunk(ChatCompletionChunk.model_validate_json(text, strict=True))
    message = state.current_completion_snapshot.choices[0].message
    for block in (message.model_extra or {}).get("thinking_blocks", []):
        assert block["type"] in ("thinking", "redacted_thinking")


@_cases(STREAMS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_where_reads_are_cut_does_not_matter(case: Path, data: st.DataObject) -> None:
    stream = (case / "upstream_response.sse").read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(1, len(stream) - 1), unique=True)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    chunks = _answered(case, reads)
    assert b"".join(chunk.wire for chunk in chunks) == (case / "answer.sse").read_bytes()
    usage = [chunk.usage for chunk in chunks if chunk.usage]
    assert usage[-1] == _last_usage(case)


def _last_usage(case: Path) -> TokenUsage | None:
    return _answered(case, [(case / "upstream_response.sse").read_bytes()])[-1].usage
