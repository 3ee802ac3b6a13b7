"""Anthropic's wire format, case by case: what is sent upstream, and what the caller gets.

A folder of `tests/wire/anthropic` is a case: `request.json` and `upstream_request.json`, both tried
streamed and whole, with what was ignored in `ignored.json`; `upstream_response.json` or `.sse`, and
`answer.json` or `.sse`, with why the stream then breaks off in `fault.json`; `model.json` is what
the provider lists of the model, where that matters. What is refused has `refused.json` instead.
"""

from pathlib import Path
from typing import Any

import orjson
import pytest
from anthropic.types import message_create_params
from openai.types.chat import ChatCompletion
from pydantic import TypeAdapter

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest, Json, JsonObject
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_models import UNKNOWN, facts_of
from ailb_server.providers.anthropic_wire_request import MessagesRequest, messages_request
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.openai_usage import usage_of
from ailb_server.providers.sse import EventCutter
from tests.wire.joining import joined
from tests.wire.refusals import check_refusal, is_refusal

CREATED = 1_700_000_000
_FOLDERS = sorted(path.parent for path in Path(__file__).parent.glob("anthropic/*/request.json"))
CASES = [folder for folder in _FOLDERS if not is_refusal(folder)]
REFUSALS = [folder for folder in _FOLDERS if is_refusal(folder)]
STREAMS = [case for case in CASES if (case / "upstream_response.sse").exists()]
WHOLE = [case for case in CASES if (case / "upstream_response.json").exists()]
_PARAMS: TypeAdapter[Any] = TypeAdapter(message_create_params.MessageCreateParams)


def _cases(cases: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def _json(path: Path) -> Json:
    return orjson.loads(path.read_bytes())


def _request(case: Path, *, stream: bool) -> ChatRequest:
    return parse_chat_request(orjson.dumps({**_json(case / "request.json"), "stream": stream}))


def _sent(case: Path, *, stream: bool) -> MessagesRequest:
    listed = case / "model.json"
    facts = facts_of(_json(listed)) if listed.exists() else UNKNOWN
    return messages_request(_request(case, stream=stream), "claude-test", facts)


def _events(case: Path) -> list[JsonObject]:
    events = (case / "answer.sse").read_bytes().split(b"\n\n")[:-1]
    texts = [event.removeprefix(b"data: ") for event in events]
    assert (texts[-1] == b"[DONE]") is not (case / "fault.json").exists()
    return [orjson.loads(text) for text in texts if text != b"[DONE]"]


def test_there_are_cases() -> None:
    assert len(STREAMS) > 5
    assert len(WHOLE) > 15


@_cases(CASES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_sent(case: Path, *, stream: bool) -> None:
    sent = _sent(case, stream=stream)
    expected = {**_json(case / "upstream_request.json"), "stream": True}
    if not stream:
        del expected["stream"]
    assert orjson.loads(sent.body) == expected
    ignored = case / "ignored.json"
    assert list(sent.ignored) == (_json(ignored) if ignored.exists() else [])


@_cases(CASES)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_sent_is_of_the_official_type(case: Path, *, stream: bool) -> None:
    _PARAMS.validate_json(_sent(case, stream=stream).body)


@_cases(WHOLE)
def test_a_whole_answer(case: Path) -> None:
    chunk = completion((case / "upstream_response.json").read_bytes(), CREATED)
    assert orjson.loads(chunk.wire) == _json(case / "answer.json")
    assert list(chunk.events) == [_json(case / "answer.json")]
    ChatCompletion.model_validate_json(chunk.wire, strict=True)
    assert chunk.usage == usage_of(chunk.events[0]["usage"])


@_cases(STREAMS)
def test_a_streamed_answer(case: Path) -> None:
    request = _request(case, stream=True)
    reader = StreamReader(include_usage=request.include_usage, created=CREATED)
    chunk = reader.read(EventCutter().feed((case / "upstream_response.sse").read_bytes()))
    assert chunk.wire == (case / "answer.sse").read_bytes()
    fault = case / "fault.json"
    assert reader.done is not fault.exists()
    assert str(reader.fault or "") == (_json(fault) if fault.exists() else "")


@_cases(STREAMS)
def test_the_official_client_can_join_a_streamed_answer(case: Path) -> None:
    message = joined(_events(case))["choices"][0]["message"]
    for block in message.get("thinking_blocks", []):
        assert block["type"] in ("thinking", "redacted_thinking")


@_cases(REFUSALS)
def test_what_is_refused(case: Path) -> None:
    check_refusal(case, lambda: _sent(case, stream=False))
