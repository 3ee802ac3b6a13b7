"""OpenAI's stream chunks as Anthropic's events: an event-level state machine. Pure.

Source: anthropic 2.11 `types/raw_message_stream_event.py`, `types/raw_content_block_delta.py`.
"""

from collections.abc import Iterator

from ailb_server.api.anthropic_wire_answer import (
    call_id,
    malformed,
    message_head,
    native_thoughts,
    object_of,
    objects_of,
    reasoning_of,
    stop_reason,
    text_of,
    usage_json,
)
from ailb_server.domain.chat import ChatChunk, Json, JsonObject, TokenUsage
from ailb_server.domain.json_text import exact_dumps
from ailb_server.domain.thoughts import native


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
        # The index and the id of each, as told.
        self._calls: list[tuple[Json, Json]] = []
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
        choices = objects_of(told.get("choices"))
        if self._head is None and choices:
            self._head = {name: told.get(name) for name in ("id", "model")}
            # OpenAI's streams count at their end: until then nothing is known.
            message = message_head(self._head, [], TokenUsage())
            yield {"type": "message_start", "message": message}
        for choice in choices:
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
        function = object_of(call.get("function") or {})
        name = text_of(function, "name")
        if self._is_new(call, name):
            if not name:
                raise malformed()
            told = call_id(self._head or {}, call, len(self._calls))
            block = {"type": "tool_use", "id": told, "name": name, "input": {}}
            yield from self._start(block)
            self._calls.append((call.get("index"), call.get("id")))
        if arguments := text_of(function, "arguments"):
            yield self._block_delta({"type": "input_json_delta", "partial_json": arguments})

    def _is_new(self, call: JsonObject, name: str) -> bool:
        """Whether a call begins. Some servers number all calls 0, or none, or repeat the id.

        Raises UpstreamUnavailableError for more of a call whose block is closed.
        """
        index, told = call.get("index"), call.get("id")
        if self._calls and self._open == "tool_use":
            last_index, last_told = self._calls[-1]
            same_place = index is None or index == last_index
            if told == last_told if told and name else same_place:
                return False
        if any(told == seen if told else index == place for place, seen in self._calls):
            raise malformed()
        return True

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
    return b"event: %b\ndata: %b\n\n" % (str(event["type"]).encode(), exact_dumps(event))
