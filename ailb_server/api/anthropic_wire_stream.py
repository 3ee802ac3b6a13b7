"""OpenAI's stream chunks as Anthropic's events: an event-level state machine. Pure.

Source: anthropic 2.11 `types/raw_message_stream_event.py`, `types/raw_content_block_delta.py`.
"""

from collections.abc import Iterator

import orjson

from ailb_server.api.anthropic_wire_answer import (
    call_id,
    malformed,
    message_head,
    native,
    native_thoughts,
    object_of,
    objects_of,
    reasoning_of,
    stop_reason,
    text_of,
    usage_json,
)
from ailb_server.domain.chat import ChatChunk, Json, JsonObject, TokenUsage


class StreamWriter:
    """Writes a stream chunk by chunk; `finish` writes what may only come once all has been said.

    One content block is open at a time. Raises UpstreamUnavailableError for chunks that cannot be
    said, such as arguments for a tool call whose block is closed.
    """

    def __init__(self) -> None:
        self._head: JsonObject | None = None
        self._usage = TokenUsage()
        self._index = -1
        self._open = ""
        self._call: tuple[Json, Json] = (None, None)
        self._calls: set[Json] = set()
        self._finish_reason: Json = None
        self._refusal = False

    def write(self, chunk: ChatChunk) -> bytes:
        """The events that a chunk makes; empty if it makes none."""
        self._usage = chunk.usage or self._usage
        return b"".join(sse(event) for told in chunk.events for event in self._chunk(told))

    def finish(self) -> bytes:
        """The stream's last events."""
        if self._head is None:
            raise malformed()
        reason = stop_reason(self._finish_reason, calls=bool(self._calls), refusal=self._refusal)
        delta = {"stop_reason": reason, "stop_sequence": None}
        last = {"type": "message_delta", "delta": delta, "usage": usage_json(self._usage)}
        events = [*self._close(), last, {"type": "message_stop"}]
        return b"".join(map(sse, events))

    def _chunk(self, told: JsonObject) -> Iterator[JsonObject]:
        if self._head is None:
            self._head = {name: told.get(name) for name in ("id", "model")}
            message = message_head(self._head, [], self._usage)
            yield {"type": "message_start", "message": message}
        for choice in objects_of(told.get("choices")):
            # More than one cannot be asked for.
            if not choice.get("index"):
                yield from self._delta(object_of(choice.get("delta") or {}))
                self._finish_reason = choice.get("finish_reason") or self._finish_reason

    def _delta(self, delta: JsonObject) -> Iterator[JsonObject]:
        if reasoning := reasoning_of(delta):
            yield from self._said("thinking", "thinking_delta", reasoning)
        for block in native_thoughts(delta):
            yield from self._native(block)
        for name in ("content", "refusal"):
            if text := text_of(delta, name):
                self._refusal = self._refusal or name == "refusal"
                yield from self._said("text", "text_delta", text)
        for call in objects_of(delta.get("tool_calls")):
            yield from self._tool(call)

    def _said(self, kind: str, delta: str, text: str) -> Iterator[JsonObject]:
        if self._open != kind:
            empty = {"type": kind, kind: ""}
            yield from self._start({**empty, "signature": ""} if kind == "thinking" else empty)
        yield self._block_delta({"type": delta, kind: text})

    def _native(self, block: JsonObject) -> Iterator[JsonObject]:
        """Anthropic's own block, which comes once its text has been told as reasoning."""
        if block["type"] == "redacted_thinking":
            yield from self._start(native(block))
            yield from self._close()
            return
        if signature := text_of(block, "signature"):
            if self._open != "thinking":
                yield from self._start({"type": "thinking", "thinking": "", "signature": ""})
            yield self._block_delta({"type": "signature_delta", "signature": signature})
            yield from self._close()

    def _tool(self, call: JsonObject) -> Iterator[JsonObject]:
        index, told, function = call.get("index"), call.get("id"), call.get("function") or {}
        if self._is_new(index, told):
            name = text_of(object_of(function), "name")
            if not name or (index is not None and index in self._calls and not told):
                raise malformed()
            call = {"id": call_id(self._head or {}, call, len(self._calls)), "name": name}
            yield from self._start({"type": "tool_use", **call, "input": {}})
            self._calls.add(len(self._calls) if index is None else index)
            self._call = (index, told)
        if arguments := text_of(object_of(function), "arguments"):
            yield self._block_delta({"type": "input_json_delta", "partial_json": arguments})

    def _is_new(self, index: Json, told: Json) -> bool:
        """Whether a call begins: some servers number all their calls 0, or none."""
        last, last_told = self._call
        if self._open != "tool_use" or (index is not None and index != last):
            return True
        return bool(told) and told != last_told

    def _start(self, block: JsonObject) -> Iterator[JsonObject]:
        yield from self._close()
        self._index += 1
        self._open = block["type"]
        yield {"type": "content_block_start", "index": self._index, "content_block": block}

    def _block_delta(self, delta: JsonObject) -> JsonObject:
        return {"type": "content_block_delta", "index": self._index, "delta": delta}

    def _close(self) -> Iterator[JsonObject]:
        if self._open:
            self._open = ""
            yield {"type": "content_block_stop", "index": self._index}


def sse(event: JsonObject) -> bytes:
    """One event as Anthropic writes it."""
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), orjson.dumps(event))
