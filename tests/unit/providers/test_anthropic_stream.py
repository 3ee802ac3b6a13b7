"""A streamed answer says what the same answer says whole, however its events are cut."""

import itertools
from collections.abc import Iterator
from typing import Any, TypeAlias

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import Json, JsonObject, TokenUsage
from ailb_server.providers.anthropic_relay import RelayReader, relayed_completion
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError
from ailb_server.providers.sse import EventCutter

Events: TypeAlias = list[JsonObject]

_CREATED = 7
_TEXT = st.text(alphabet='aé😀"\\\n :{', max_size=12)
_COUNT = st.integers(0, 1000)
_BLOCKS = st.one_of(
    st.builds(lambda t: {"type": "text", "text": t}, _TEXT),
    st.builds(lambda t, s: {"type": "thinking", "thinking": t, "signature": s}, _TEXT, _TEXT),
    st.builds(lambda d: {"type": "redacted_thinking", "data": d}, _TEXT),
    st.builds(
        lambda n, i: {"type": "tool_use", "id": f"toolu_{n}", "name": f"f{n}", "input": i},
        _COUNT,
        st.dictionaries(_TEXT, st.one_of(_TEXT, st.booleans(), st.none()), max_size=2),
    ),
    st.just({"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}}),
)
_STOPS = st.sampled_from(
    ["end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal", "novel"]
)
_USAGE = st.fixed_dictionaries(
    {"input_tokens": _COUNT, "output_tokens": _COUNT},
    optional={
        "cache_read_input_tokens": _COUNT,
        "cache_creation_input_tokens": _COUNT,
        "output_tokens_details": st.builds(lambda n: {"thinking_tokens": n}, _COUNT),
    },
)
_MESSAGES = st.builds(
    lambda content, stop, usage, why: {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude",
        "content": content,
        "stop_reason": stop,
        "stop_details": {"type": "refusal", "explanation": why},
        "usage": usage,
    },
    st.lists(_BLOCKS, max_size=4),
    _STOPS,
    _USAGE,
    st.one_of(st.none(), _TEXT.filter(bool)),
)
_NOISE = st.sampled_from(
    [b"", b"", b'event: ping\ndata: {"type": "ping"}\n\n', b": x\n\n", b'data: {"type":"new"}\n\n']
)
_MEMBER = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}


def _pieces(data: st.DataObject, text: str) -> Iterator[str]:
    """The text in pieces, an empty one first."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    yield from (text[a:b] for a, b in zip([0, 0, *cuts], [0, *cuts, len(text)], strict=True))


def _deltas(data: st.DataObject, block: JsonObject) -> Iterator[JsonObject]:
    for name, kind in _MEMBER.items():
        for piece in _pieces(data, block.get(name, "")):
            yield {"type": kind, name: piece}
    if "input" in block and data.draw(st.booleans()):
        for piece in _pieces(data, orjson.dumps(block["input"]).decode()):
            yield {"type": "input_json_delta", "partial_json": piece}


def _streamed(data: st.DataObject, message: JsonObject) -> Events:
    """The events of the message: tool input in deltas, or whole at the block's start."""
    begun = {**message, "content": [], "stop_reason": None, "usage": {"input_tokens": 1}}
    events: Events = [{"type": "message_start", "message": begun}]
    for index, block in enumerate(message["content"]):
        deltas = list(_deltas(data, block))
        empty: JsonObject = {**block, **{name: "" for name in _MEMBER if name in block}}
        if any(delta["type"] == "input_json_delta" for delta in deltas):
            empty["input"] = {}
        events.append({"type": "content_block_start", "index": index, "content_block": empty})
        events += [{"type": "content_block_delta", "index": index, "delta": d} for d in deltas]
        events.append({"type": "content_block_stop", "index": index})
    stop = {name: message[name] for name in ("stop_reason", "stop_details")}
    events.append({"type": "message_delta", "delta": stop, "usage": message["usage"]})
    return [*events, {"type": "message_stop"}]


def _wire(events: Events) -> bytes:
    return b"".join(b"data: %b\n\n" % orjson.dumps(event) for event in events)


def _read(wire: bytes, cuts: list[int]) -> tuple[list[JsonObject], TokenUsage | None]:
    reader, cutter = StreamReader(include_usage=True, created=_CREATED), EventCutter()
    chunks: list[JsonObject] = []
    usage: TokenUsage | None = None
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        chunk = reader.read(cutter.feed(wire[start:end]))
        chunks += chunk.events
        usage = chunk.usage or usage
    assert reader.done
    return chunks, usage


def _joined(chunks: list[JsonObject]) -> JsonObject:
    """What a client makes of a stream's chunks."""
    message: JsonObject = {"content": None, "refusal": None}
    finish: list[str] = []
    for chunk in chunks:
        for choice in chunk["choices"]:
            _join(message, choice["delta"])
            finish += [choice["finish_reason"]] if choice["finish_reason"] else []
    for call in message.get("tool_calls", []):
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    (reason,) = finish
    head = {name: chunks[0][name] for name in ("id", "created", "model")}
    return {**head, "message": message, "finish_reason": reason, "usage": chunks[-1]["usage"]}


def _join(message: JsonObject, delta: JsonObject) -> None:
    for name, value in delta.items():
        if name in ("content", "reasoning_content", "refusal"):
            message[name] = ((message.get(name) or "") + value) or None
        elif name == "tool_calls":
            _join_calls(message.setdefault(name, []), value)
        elif name == "thinking_blocks":
            blocks = message.setdefault(name, [])
            assert [block.pop("index") for block in value] == [len(blocks)]
            blocks += value
        else:
            message[name] = value


def _join_calls(calls: list[Json], deltas: list[Json]) -> None:
    for delta in deltas:
        index = delta.pop("index")
        if index == len(calls):
            calls.append(delta)
        else:
            calls[index]["function"]["arguments"] += delta["function"]["arguments"]


def _whole(message: JsonObject) -> JsonObject:
    (answer,) = completion(orjson.dumps(message), _CREATED).events
    (choice,) = answer["choices"]
    for call in choice["message"].get("tool_calls", []):
        call["function"]["arguments"] = orjson.loads(call["function"]["arguments"])
    head = {name: answer[name] for name in ("id", "created", "model", "usage")}
    return {**head, "message": choice["message"], "finish_reason": choice["finish_reason"]}


@given(message=_MESSAGES, data=st.data())
def test_streamed_is_as_whole(message: JsonObject, data: st.DataObject) -> None:
    events = _streamed(data, message)
    wire = b"".join(data.draw(_NOISE) + _wire([event]) for event in events)
    cuts = sorted(data.draw(st.lists(st.integers(1, len(wire) - 1), unique=True, max_size=20)))
    chunks, usage = _read(wire, cuts)
    assert _joined(chunks) == _whole(message)
    assert usage == completion(orjson.dumps(message), _CREATED).usage
    assert _relayed(wire, cuts) == (wire, relayed_completion(orjson.dumps(message), 0).usage)


def _relayed(wire: bytes, cuts: list[int]) -> tuple[bytes, TokenUsage | None]:
    relay, cutter = RelayReader(created=0), EventCutter()
    places = [0, *cuts, len(wire)]
    chunks = [relay.read(cutter.feed(wire[a:b])) for a, b in itertools.pairwise(places)]
    return b"".join(c.wire for c in chunks), [c.usage for c in chunks if c.usage][-1]


_START: JsonObject = {"type": "message_start", "message": {"id": "m", "usage": {"input_tokens": 3}}}
_OPEN: JsonObject = {
    "type": "content_block_start",
    "index": 0,
    "content_block": {"type": "tool_use", "id": "t", "name": "f", "input": {}},
}


def _delta(**delta: Json) -> JsonObject:
    return {"type": "content_block_delta", "index": 0, "delta": delta}


@pytest.mark.parametrize(
    "events",
    [
        [{}],
        [{"type": 7}],
        [{"type": "message_stop"}],
        [{"type": "message_delta", "delta": {}}],
        [{"type": "message_start"}],
        [_START, _START],
        [_START, _delta(type="text_delta", text="x")],
        [_START, {"type": "content_block_start", "index": 0}],
        [_START, {**_OPEN, "index": None}],
        [_START, {**_OPEN, "content_block": {"type": "tool_use", "id": "t"}}],
        [_START, _OPEN, _delta(type="input_json_delta", partial_json=7)],
        [_START, _OPEN, {"type": "content_block_stop", "index": 1}],
    ],
)
def test_what_breaks_the_format_is_malformed(events: Events) -> None:
    assert isinstance(_fault(events), MalformedAnswerError)


@pytest.mark.parametrize("before", [[], [_START]])
def test_an_error_event_is_told_by_its_type_not_its_text(before: Events) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "your prompt"}}
    fault = _fault([*before, error])
    assert isinstance(fault, ErrorAnswerError)
    assert str(fault) == "overloaded_error"


def _fault(events: Events) -> ValueError | None:
    reader = StreamReader(include_usage=False, created=0)
    try:
        reader.read(_wire(events))
    except ValueError as error:
        # Nothing can be told, so that another target may be asked.
        assert not reader.begun
        return error
    assert reader.begun
    return reader.fault


@pytest.mark.parametrize("bad", [b"data: {\n\n", b'data: {"type":"error","error":{}}\n\n'])
def test_good_events_before_a_bad_one_are_delivered(bad: bytes) -> None:
    text: JsonObject = {"type": "text", "text": "Hi"}
    good = _wire([_START, {**_OPEN, "content_block": text}])
    reader, relay = StreamReader(include_usage=False, created=0), RelayReader(created=0)
    chunk = reader.read(good + bad + good)
    assert [c["choices"][0]["delta"]["content"] for c in chunk.events] == ["", "Hi"]
    assert chunk.usage == TokenUsage(prompt=3)
    assert relay.read(good + bad + good).wire == good
    assert reader.fault is not None
    assert relay.fault is not None


def test_usage_is_told_early_so_that_a_broken_stream_is_metered() -> None:
    chunk = StreamReader(include_usage=False, created=0).read(_wire([_START]))
    assert chunk.usage == TokenUsage(prompt=3)


def test_a_stream_without_a_reason_stops() -> None:
    wire = _wire([_START, {"type": "message_stop"}])
    chunks, _ = _read(wire, [])
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks[:-1]] == [None, "stop"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type":"message"}',
        b'{"type":"message","content":[{"type":"text"}]}',
        b'{"type":"message","content":[{"type":"tool_use","id":"t"}]}',
        b'{"type":"message","content":[{"type":"thinking","thinking":7}]}',
        b'{"type":"message","content":[{"type":"tool_use","id":"t","name":"f","input":'
        + b'{"a":' * 300
        + b"1"
        + b"}" * 300
        + b"}]}",
    ],
)
def test_a_malformed_message_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        completion(body, 0)


@pytest.mark.parametrize("usage", [None, [], {"input_tokens": "7", "output_tokens": True}])
def test_odd_usage_counts_nothing(usage: Any) -> None:
    body = orjson.dumps({"type": "message", "content": [], "usage": usage})
    assert completion(body, 0).usage == TokenUsage()
