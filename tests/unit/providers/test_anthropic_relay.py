"""What is relayed to and from Anthropic for callers of its own format."""

from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict
from pydantic_core import to_json

from ailb_server.api.anthropic_errors import error_event
from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers.anthropic_relay import (
    RelayReader,
    relayed_body,
    relayed_completion,
    relayed_headers,
)
from ailb_server.providers.openai_wire import ErrorAnswerError
from ailb_server.providers.sse import EventCutter
from tests.support.anthropic_upstream import MESSAGE, STREAM, error_body, sse
from tests.wire.test_anthropic import STREAMS

_HELLO: Any = {"role": "user", "content": "hi"}


def _request(*messages: Any, headers: dict[str, str] | None = None) -> ChatRequest:
    body = {"model": "m", "max_tokens": 9, "messages": messages or [_HELLO]}
    return parse_messages_request(orjson.dumps(body), headers or {}).chat


def _relayed(reads: list[bytes]) -> list[ChatChunk]:
    cutter, reader = EventCutter(), RelayReader(created=1)
    chunks = [reader.read(block) for read in reads if (block := cutter.feed(read))]
    assert reader.done
    return chunks


_WHOLE = [case for case in STREAMS if not (case / "fault.json").exists()]


@pytest.mark.parametrize("case", _WHOLE, ids=[case.name for case in _WHOLE])
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_byte_is_relayed_however_reads_are_cut(case: Any, data: st.DataObject) -> None:
    stream = (case / "upstream_response.sse").read_bytes()
    cuts = sorted(data.draw(st.lists(st.integers(1, len(stream) - 1), unique=True)))
    reads = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    chunks = _relayed(reads)
    assert b"".join(chunk.wire for chunk in chunks) == stream
    last = _relayed([stream])[-1].usage
    assert [chunk.usage for chunk in chunks if chunk.usage][-1] == last
    told = next(chunk for chunk in chunks if chunk.wire)
    assert told.events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}


def test_an_error_in_a_success_is_none_of_the_answer() -> None:
    reader = RelayReader(created=1)
    assert reader.read(STREAM[1]).wire == b""
    with pytest.raises(ErrorAnswerError):
        reader.read(sse({"type": "error", "error": {"type": "overloaded_error"}}))
    with pytest.raises(ErrorAnswerError):
        relayed_completion(error_body("api_error", "x"), 1)


def test_an_error_amid_the_answer_is_its_last_event() -> None:
    error = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}})
    reader = RelayReader(created=1)
    chunk = reader.read(b"".join(STREAM[:3]) + error + STREAM[3])
    assert chunk.wire == b"".join(STREAM[:3])
    assert isinstance(reader.fault, ErrorAnswerError)
    told = UpstreamUnavailableError("x", provider="p")
    told.event = reader.fault.event
    assert error_event(told, "req_1") == error


def test_integers_of_any_size_are_sent_as_they_are() -> None:
    call = {"type": "tool_use", "id": "c", "name": "f", "input": {"id": 10**24 + 1}}
    foreign = {"type": "thinking", "thinking": "x", "signature": ""}
    turn = {"role": "assistant", "content": [foreign, call]}
    body = to_json({"model": "m", "max_tokens": 9, "messages": [_HELLO, turn]})
    sent = relayed_body(parse_messages_request(body, {}).chat, "m")
    assert b'"input":{"id":1000000000000000000000001}' in sent
    assert b'"thinking":' not in sent


def test_a_whole_answer_is_metered_beside_its_relay() -> None:
    body = b" " + orjson.dumps(MESSAGE)
    chunk = relayed_completion(body, 1)
    assert (chunk.wire, chunk.wire_format) == (body, "anthropic")
    assert chunk.usage is not None
    assert (chunk.usage.prompt, chunk.usage.completion) == (12, 3)
    assert chunk.events[0]["choices"][0]["message"]["content"] == "Hello!"


def test_the_callers_version_wins_and_betas_add_up() -> None:
    template = CIMultiDict(
        {"anthropic-version": "old", "anthropic-beta": "a", "authorization": "k"}
    )
    asked = {"anthropic-version": "new", "anthropic-beta": "b,c", "authorization": "mine"}
    headers = relayed_headers(template, _request(headers=asked))
    told = {"anthropic-version": "new", "anthropic-beta": "a,b,c", "authorization": "k"}
    assert dict(headers) == told
    assert relayed_headers(template, _request()) == template


def test_thoughts_of_other_providers_are_not_sent() -> None:
    foreign = {"type": "thinking", "thinking": "x", "signature": ""}
    own = {"type": "thinking", "thinking": "y", "signature": "s"}
    text = {"type": "text", "text": "z"}
    request = _request(
        _HELLO,
        {"role": "assistant", "content": [foreign, text]},
        _HELLO,
        {"role": "assistant", "content": [own, text]},
        _HELLO,
        {"role": "assistant", "content": [foreign]},
        _HELLO,
    )
    sent = orjson.loads(relayed_body(request, "m"))
    assert sent["messages"] == [
        _HELLO,
        {"role": "assistant", "content": [text]},
        _HELLO,
        {"role": "assistant", "content": [own, text]},
        _HELLO,
        _HELLO,
    ]
    assert sent["max_tokens"] == 9
