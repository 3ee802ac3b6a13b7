"""What the official clients make of a stream, and what an answer says."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from ailb_server.domain.chat import JsonObject

_EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
_TEXTS = ("content", "refusal", "reasoning_content")


def joined(events: Iterable[Any]) -> Any:
    """The completion that the client has at the end. Every chunk must be of its type."""
    state: ChatCompletionStreamState[None] = ChatCompletionStreamState()
    for event in events:
        chunk = ChatCompletionChunk.model_validate_json(orjson.dumps(event), strict=True)
        state.handle_chunk(chunk)
    return state.current_completion_snapshot.to_dict()


def said(answer: Any) -> Any:
    """The one choice's texts, thoughts, calls and reason, and the tokens: without what says
    nothing."""
    (choice,) = answer["choices"]
    message = choice["message"]
    texts = {name: text for name in _TEXTS if (text := message.get(name))}
    thoughts = [
        {name: value for name, value in block.items() if name != "index"}
        for block in message.get("thinking_blocks") or ()
    ]
    calls = [
        (call["id"], call["function"]["name"], orjson.loads(call["function"]["arguments"]))
        for call in message.get("tool_calls") or ()
    ]
    return texts, thoughts, calls, choice["finish_reason"], answer["usage"]


def message_events(wire: bytes) -> Iterator[JsonObject]:
    """The events of Anthropic's stream, each named as its type."""
    for event in wire.split(b"\n\n")[:-1]:
        name, data = event.split(b"\n")
        told = orjson.loads(data.removeprefix(b"data: "))
        assert name == b"event: " + told["type"].encode()
        yield told


def joined_message(wire: bytes) -> JsonObject:
    """The message that the official client makes of a stream."""
    message: Any = None
    json_bufs: dict[int, bytes] = {}
    for event in message_events(wire):
        message = accumulate_event(
            event=_EVENT.validate_python(event, strict=True),
            current_snapshot=message,
            json_bufs=json_bufs,
        )
    told: JsonObject = message.to_dict()
    # The client's own addition.
    assert told.pop("stop_details", None) is None
    return told
