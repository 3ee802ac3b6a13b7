"""What a caller sees of an upstream's stream, and what is metered of it."""

import itertools

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import TokenUsage
from ailb_server.providers import openai_wire
from ailb_server.providers.openai_wire import (
    ErrorAnswerError,
    MalformedAnswerError,
    StreamReader,
)
from ailb_server.providers.sse import EventCutter

_HELLO = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi \\"usage\\": null"}}]}\n\n'
_HELLO_NULL = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"a"}}], "usage" : null}\n\n'
)
_END = b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
_USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
_BOTH = (
    b'data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":7,"completion_tokens":3}}\n\n'
)
_COMMENT = b": usage follows\n\n"
_DONE = b"data: [DONE]\n\n"
_TOLD = TokenUsage(prompt=7, completion=3)


def _relayed(*blocks: bytes, include_usage: bool) -> tuple[bytes, TokenUsage | None, bool]:
    reader, wire, usage = StreamReader(include_usage=include_usage), b"", None
    for block in blocks:
        chunk = reader.read(block)
        wire += chunk.wire
        usage = chunk.usage or usage
    return wire, usage, reader.done


def test_relays_bytes_untouched_if_usage_is_asked_for() -> None:
    stream = _HELLO_NULL + _COMMENT + _END + _USAGE + _DONE
    assert _relayed(stream, include_usage=True) == (stream, _TOLD, True)


def test_hides_usage_that_was_not_asked_for_but_meters_it() -> None:
    relayed = _relayed(_HELLO + _END, _USAGE, _DONE, include_usage=False)
    assert relayed == (_HELLO + _END + _DONE, _TOLD, True)


def test_removes_usage_null_but_not_the_words_in_a_text() -> None:
    wire, usage, _ = _relayed(_HELLO + _HELLO_NULL, include_usage=False)
    assert wire == _HELLO + _HELLO_NULL.replace(b', "usage" : null', b"")
    assert usage is None


def test_keeps_usage_that_comes_with_choices() -> None:
    assert _relayed(_BOTH + _DONE, include_usage=False) == (_BOTH + _DONE, _TOLD, True)


def test_keeps_comments_beside_hidden_usage() -> None:
    wire, _, _ = _relayed(_HELLO + _COMMENT + _USAGE + _DONE, include_usage=False)
    assert wire == _HELLO + _COMMENT + _DONE


def test_the_last_usage_counts() -> None:
    first = _BOTH.replace(b"7", b"1")
    assert _relayed(first + _BOTH, include_usage=False)[1] == _TOLD
    assert _relayed(_HELLO, _USAGE.replace(b"7", b"1"), _USAGE, include_usage=True)[1] == _TOLD


def test_is_not_done_before_done() -> None:
    assert not _relayed(_HELLO + _END + _USAGE, include_usage=False)[2]


def test_what_comes_before_the_first_choice_waits_for_it() -> None:
    filters = b'data: {"choices":[],"prompt_filter_results":[{}]}\n\n'
    reader = StreamReader(include_usage=False)
    for block in (_COMMENT, filters):
        assert reader.read(block).wire == b""
        assert not (reader.begun or reader.alive)
    chunk = reader.read(_HELLO)
    assert chunk.wire == _COMMENT + filters + _HELLO
    assert chunk.events == [orjson.loads(event[6:]) for event in (filters, _HELLO)]
    assert reader.alive


def test_a_stream_of_no_choice_never_begins() -> None:
    reader = StreamReader(include_usage=True)
    assert reader.read(b'data: {"choices":[]}\n\n' + _USAGE + _DONE).wire == b""
    assert (reader.begun, reader.done) == (False, True)


def test_a_beginning_without_an_end_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_wire, "MAX_EVENT_BYTES", 40)
    reader = StreamReader(include_usage=True)
    reader.read(_COMMENT * 2)
    with pytest.raises(MalformedAnswerError):
        reader.read(_COMMENT)


def test_events_without_data_are_relayed_and_not_parsed() -> None:
    heartbeat = b"data:\n\nevent: ping\n\n"
    reader = StreamReader(include_usage=False)
    chunk = reader.read(heartbeat + _HELLO)
    assert chunk.wire == heartbeat + _HELLO
    assert chunk.events == [orjson.loads(_HELLO[6:])]


def test_events_of_several_data_lines_are_one_object() -> None:
    chunk = StreamReader(include_usage=True).read(b'data: {"id":"c",\ndata: "choices":[{}]}\n\n')
    assert chunk.events == [{"id": "c", "choices": [{}]}]


@pytest.mark.parametrize("data", [b"{", b"[]", b"1", b"nonsense", b"\xff"])
def test_malformed_events_are_refused(data: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        StreamReader(include_usage=True).read(b"data: " + data + b"\n\n")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (b'{"message":"secret prompt","code":"server_error"}', "server_error"),
        (b'{"message":"secret prompt","type":"overloaded","code":null}', "overloaded"),
        (b'{"message":"secret prompt","code":500}', "500"),
        (b'{"message":"secret prompt"}', "unknown"),
        (b'"secret prompt"', "unknown"),
    ],
)
def test_error_objects_are_told_by_their_code_only(error: bytes, kind: str) -> None:
    with pytest.raises(ErrorAnswerError, match=f"^{kind}$"):
        StreamReader(include_usage=True).read(b'data: {"error":' + error + b"}\n\n")


def test_error_null_is_no_error() -> None:
    event = b'data: {"error":null,"choices":[{}]}\n\n'
    assert StreamReader(include_usage=True).read(event).wire == event


_EVENTS = st.lists(
    st.sampled_from([_HELLO, _HELLO_NULL, _END, _USAGE, _BOTH, _COMMENT]), min_size=1, max_size=6
)


@given(events=_EVENTS, cuts=st.lists(st.integers(0, 2000), max_size=8), include_usage=st.booleans())
def test_any_cut_gives_the_same_wire_and_usage(
    events: list[bytes], cuts: list[int], *, include_usage: bool
) -> None:
    text = b"".join(events) + _DONE
    places = sorted({0, *(cut % len(text) for cut in cuts), len(text)})
    cutter = EventCutter()
    blocks = [cutter.feed(text[a:b]) for a, b in itertools.pairwise(places)]
    assert _relayed(*blocks, include_usage=include_usage) == _relayed(
        text, include_usage=include_usage
    )
