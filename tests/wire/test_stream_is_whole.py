"""An OpenAI provider's stream says what the same answer says whole: to OpenAI's client, on the
typed face, to Anthropic's client, and to the meter. Other providers' are beside their translators.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.anthropic_wire_answer import message_body
from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.api.messages import ChunkReader, completion_of
from ailb_server.domain.chat import ChatChunk, JsonObject
from ailb_server.providers.openai_wire import completion
from tests.wire.joining import joined, joined_message, said
from tests.wire.openai_cases import Told, told

_TEXTS = st.text(alphabet='aé😀"\\\n :{', max_size=9)
_COUNTS = st.integers(0, 999)
_ARGUMENTS = st.dictionaries(_TEXTS, _TEXTS | st.integers(-(2**53), 2**53) | st.none(), max_size=2)
_USAGE = st.builds(
    lambda prompt, cached, write, completion, reasoning: {
        "prompt_tokens": prompt + cached + write,
        "completion_tokens": completion + reasoning,
        "total_tokens": prompt + cached + write + completion + reasoning,
        "prompt_tokens_details": {"cached_tokens": cached, "cache_write_tokens": write},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    },
    *[_COUNTS] * 5,
)
_HEAD = {"id": "chatcmpl-1", "created": 7, "model": "m"}


@st.composite
def answers(draw: st.DrawFn) -> JsonObject:
    """A completion: text or refusal, thoughts, calls in parallel, usage with details."""
    calls = [
        {"id": f"call_{i}", "type": "function", "function": {"name": f"f{i}", "arguments": text}}
        for i, text in enumerate(draw(st.lists(_ARGUMENTS.map(json.dumps), max_size=3)))
    ]
    kind = draw(st.sampled_from(["content", "content", "refusal"]))
    message: JsonObject = {"role": "assistant", "content": None, "refusal": None}
    message[kind] = draw(_TEXTS) or None
    if reasoning := draw(_TEXTS):
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = calls
    reason = draw(st.sampled_from(["length", "content_filter"])) if draw(st.booleans()) else "stop"
    reason = "tool_calls" if calls and reason == "stop" else reason
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    head = {**_HEAD, "object": "chat.completion"}
    return {**head, "choices": [choice], "usage": draw(_USAGE)}


def _pieces(draw: st.DrawFn, text: str) -> Iterator[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    yield from (text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))


def _deltas(draw: st.DrawFn, message: JsonObject) -> Iterator[JsonObject]:
    yield {"role": "assistant", "content": ""}
    for name in ("reasoning_content", "content", "refusal"):
        for piece in _pieces(draw, message.get(name) or ""):
            yield {name: piece}
    for index, call in enumerate(message.get("tool_calls", ())):
        first, *rest = _pieces(draw, call["function"]["arguments"])
        begun = {**call, "index": index, "function": {**call["function"], "arguments": first}}
        yield {"tool_calls": [begun]}
        for piece in rest:
            yield {"tool_calls": [{"index": index, "function": {"arguments": piece}}]}


@st.composite
def streamed(draw: st.DrawFn, answer: JsonObject) -> bytes:
    """The answer's stream, with its usage in a chunk of its own, with the last choice, or in every
    chunk, as servers differ."""
    (choice,) = answer["choices"]
    choices = [
        {"delta": delta, "finish_reason": None} for delta in _deltas(draw, choice["message"])
    ]
    choices.append({"delta": {}, "finish_reason": choice["finish_reason"]})
    head = {**_HEAD, "object": "chat.completion.chunk"}
    chunks: list[JsonObject] = [{**head, "choices": [{"index": 0, **c}]} for c in choices]
    where = draw(st.sampled_from(["apart", "last", "every"]))
    if where == "apart":
        chunks = [{**chunk, "usage": None} for chunk in chunks]
        chunks.append({**head, "choices": [], "usage": answer["usage"]})
    elif where == "every":
        so_far = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        chunks = [{**chunk, "usage": so_far} for chunk in chunks]
    if where != "apart":
        chunks[-1]["usage"] = answer["usage"]
    escaped = draw(st.booleans())
    events = [f"data: {json.dumps(chunk, ensure_ascii=escaped)}" for chunk in chunks]
    for place in draw(st.lists(st.integers(0, len(events)), max_size=2)):
        events.insert(place, ": comment")
    return "\n\n".join([*events, "data: [DONE]", ""]).encode()


_BOTH = answers().flatmap(lambda answer: st.tuples(st.just(answer), streamed(answer)))
_CUTS = st.lists(st.integers(1, 9999), max_size=5)


def _read(stream: bytes, cuts: list[int], *, include_usage: bool) -> Told:
    places = sorted({0, *(cut % len(stream) for cut in cuts), len(stream)})
    reads = [stream[a:b] for a, b in itertools.pairwise(places)]
    return told(reads, include_usage=include_usage)


@given(_BOTH, _CUTS)
def test_to_openais_client(both: tuple[JsonObject, bytes], cuts: list[int]) -> None:
    answer, stream = both
    whole = completion(orjson.dumps(answer))
    read = _read(stream, cuts, include_usage=True)
    assert read.wire == stream
    assert said(joined(read.events)) == said(whole.events[0]) == said(answer)
    assert read.usages[-1] == whole.usage


@given(_BOTH, _CUTS)
def test_to_one_who_did_not_ask_for_usage(both: tuple[JsonObject, bytes], cuts: list[int]) -> None:
    answer, stream = both
    read = _read(stream, cuts, include_usage=False)
    shown = [event[6:] for event in read.wire.split(b"\n\n") if event.startswith(b"data: {")]
    chunks = [orjson.loads(data) for data in shown]
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage", 0) is None for chunk in chunks)
    assert said({**joined(chunks), "usage": answer["usage"]}) == said(answer)
    assert read.usages[-1] == completion(orjson.dumps(answer)).usage


@given(_BOTH, _CUTS)
def test_on_the_typed_face(both: tuple[JsonObject, bytes], cuts: list[int]) -> None:
    answer, stream = both
    chunk = completion(orjson.dumps(answer))
    read = _read(stream, cuts, include_usage=True)
    reader = ChunkReader()
    chunks = [reader.read(event, None) for event in read.events]
    whole = completion_of(chunk.events[0], chunk.usage)
    assert _told_by([c.delta for each in chunks for c in each.choices]) == _told_by(
        [whole.choices[0].message]
    )
    reasons = [c.finish_reason for each in chunks for c in each.choices if c.finish_reason]
    assert reasons == [whole.choices[0].finish_reason]


def _told_by(messages: list[pb.Message]) -> Any:
    texts = "".join(part.text for m in messages for part in m.content)
    refusals = "".join(m.refusal for m in messages)
    calls: dict[int, list[str]] = {}
    for call in (call for m in messages for call in m.tool_calls):
        known = calls.setdefault(call.index, ["", "", ""])
        for place, piece in enumerate((call.id, call.function.name, call.function.arguments)):
            known[place] += piece
    thoughts = "".join(
        str(dict(m.additional_fields).get("reasoning_content", "")) for m in messages
    )
    return texts, refusals, calls, thoughts


@given(_BOTH, _CUTS)
def test_to_anthropics_client(both: tuple[JsonObject, bytes], cuts: list[int]) -> None:
    answer, stream = both
    chunk = completion(orjson.dumps(answer))
    read = _read(stream, cuts, include_usage=True)
    writer = StreamWriter()
    pieces = [writer.write(ChatChunk([event], b"")) for event in read.events]
    pieces += [writer.write(ChatChunk((), b"", read.usages[-1])), writer.finish()]
    assert joined_message(b"".join(pieces)) == orjson.loads(message_body(chunk))
