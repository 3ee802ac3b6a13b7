"""Anthropic's stream events as OpenAI's chunks: an event-level state machine. Pure.

Source: anthropic 2.11 `types/raw_message_stream_event.py`, `types/raw_content_block_delta.py`,
`types/message_delta_usage.py` (its counts are cumulative).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.chat import ChatChunk, Json, JsonObject, TokenUsage
from ailb_server.domain.json_text import StreamedJson, exact
from ailb_server.domain.thoughts import placed
from ailb_server.providers.anthropic_wire_answer import (
    as_object,
    dumps,
    envelope,
    error_kind,
    finish_reason,
    input_of,
    json_object,
    refusal_of,
    text_of,
    tool_call,
    usage_json,
    usage_of,
)
from ailb_server.providers.anthropic_wire_messages import THINKING_BLOCKS
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError
from ailb_server.providers.sse import data_of, split_events

MAX_THINKING_CHARACTERS = 16 * 1024 * 1024
_BLOCK_START = "content_block_start"
_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class _Block:
    """An open content block. `start` is as the provider began it."""

    start: JsonObject
    ordinal: int = 0
    has_arguments: bool = False
    thinking: list[str] = field(default_factory=list)
    signature: str = ""
    # The answer's characters and calls before it.
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class Translated:
    """A block as OpenAI's chunks, the tokens that it tells, and its own events."""

    chunks: list[JsonObject]
    usage: TokenUsage | None
    events: list[bytes]


class StreamReader:
    """Reads a stream's events. `created` is in Unix seconds.

    `done` is set by `message_stop`. A bad event after `message_start` is kept as `fault` until what
    came before it is told.
    """

    def __init__(self, *, include_usage: bool, created: int) -> None:
        self.done = False
        self.fault: ValueError | None = None
        self._json = StreamedJson()
        self._include_usage = include_usage
        self._created = created
        self._head: JsonObject | None = None
        self._usage: JsonObject = {}
        self._usage_told = False
        self._blocks: dict[int, _Block] = {}
        self._calls = 0
        self._thoughts = 0
        self._characters = 0
        self._thinking_size = 0
        self._finished = False

    @property
    def begun(self) -> bool:
        """Whether `message_start` has come."""
        return self._head is not None

    # A ping is a sign of life too: while a model thinks unseen, nothing else comes.
    alive = begun

    def read(self, block: bytes) -> ChatChunk:
        """Turns a block of whole events into one chunk; `ping` and unknown events are nothing.

        Until `begun`, raises MalformedAnswerError, or ErrorAnswerError for an `error` event.
        """
        if self.done:
            return ChatChunk((), b"")
        translated = self.translate(block)
        return ChatChunk(translated.chunks, self._wire(translated.chunks), translated.usage)

    def translate(self, block: bytes) -> Translated:
        """What the block's events say, up to a bad one. Raises as `read`."""
        self._usage_told = False
        chunks: list[JsonObject] = []
        events: list[bytes] = []
        for event in split_events(block):
            try:
                chunks += self._told(event)
            except ValueError as error:
                if not self.begun:
                    raise
                if isinstance(error, ErrorAnswerError):
                    error.event = event + b"\n\n"
                self.fault = error
                break
            events.append(event)
        return Translated(chunks, usage_of(self._usage) if self._usage_told else None, events)

    def _told(self, event: bytes) -> list[JsonObject]:
        data = data_of(event)
        if not data or not data.strip() or self.done:
            return []
        told = json_object(data, self._json.loads)
        # The one event that has a tool's arguments as an object.
        return list(self._on(exact(data, told) if told.get("type") == _BLOCK_START else told))

    def _on(self, event: JsonObject) -> Iterable[JsonObject]:
        kind = event.get("type")
        if kind == "error":
            raise ErrorAnswerError(error_kind(event))
        if not isinstance(kind, str):
            raise MalformedAnswerError("an event has no type")
        if kind == "message_start":
            return [self._start(event)]
        if kind not in _AFTER_START:
            return ()
        if self._head is None:
            raise MalformedAnswerError("the stream does not begin with message_start")
        return _AFTER_START[kind](self, event)

    def _start(self, event: JsonObject) -> JsonObject:
        message = event.get("message")
        if not isinstance(message, dict) or self._head is not None:
            raise MalformedAnswerError("message_start is malformed or comes twice")
        self._head = envelope(message, "chat.completion.chunk", self._created)
        self._count(message.get("usage"))
        return self._chunk({"role": "assistant", "content": ""})

    def _block_start(self, event: JsonObject) -> Iterator[JsonObject]:
        start = event.get("content_block")
        if not isinstance(start, dict):
            raise MalformedAnswerError("content_block_start has no block")
        block = _Block(start, place=(self._characters, self._calls))
        self._blocks[_index(event)] = block
        kind = start.get("type")
        if kind == "tool_use":
            block.ordinal, self._calls = self._calls, self._calls + 1
            yield self._chunk({"tool_calls": [{"index": block.ordinal, **tool_call(start, "")}]})
        elif kind in THINKING_BLOCKS:
            block.ordinal, self._thoughts = self._thoughts, self._thoughts + 1
            yield from self._thought(block, start.get("thinking"))
            block.signature = text_of(start, "signature") if start.get("signature") else ""
        elif kind == "text" and start.get("text"):
            yield self._content(text_of(start, "text"))

    def _block_delta(self, event: JsonObject) -> Iterator[JsonObject]:
        block = self._open_block(event)
        delta = as_object(event.get("delta"))
        # Blocks of other kinds, such as the provider's own tools, are not relayed.
        match block.start.get("type"), delta.get("type"):
            case "text", "text_delta":
                if text := text_of(delta, "text"):
                    yield self._content(text)
            case "tool_use", "input_json_delta":
                if part := text_of(delta, "partial_json"):
                    block.has_arguments = True
                    yield self._arguments(block, part)
            case "thinking", "thinking_delta":
                yield from self._thought(block, text_of(delta, "thinking"))
            case "thinking", "signature_delta":
                block.signature += text_of(delta, "signature")

    def _block_stop(self, event: JsonObject) -> Iterator[JsonObject]:
        block = self._open_block(event)
        del self._blocks[_index(event)]
        kind = block.start.get("type")
        if kind == "tool_use" and not block.has_arguments:
            yield self._arguments(block, dumps(input_of(block.start)).decode())
        elif kind in THINKING_BLOCKS:
            native = dict(block.start)
            if kind == "thinking":
                native.update(thinking="".join(block.thinking), signature=block.signature)
            # OpenAI's clients join a stream's lists by this index.
            told = {"index": block.ordinal, **placed(native, *block.place)}
            yield self._chunk({"thinking_blocks": [told]})

    def _message_delta(self, event: JsonObject) -> Iterator[JsonObject]:
        self._count(event.get("usage"))
        delta = as_object(event.get("delta"))
        if delta.get("stop_reason") is not None and not self._finished:
            yield self._finish(delta)

    def _message_stop(self, _: JsonObject) -> Iterator[JsonObject]:
        if not self._finished:
            yield self._finish({})
        self.done = self._usage_told = True
        yield {**(self._head or {}), "choices": [], "usage": usage_json(usage_of(self._usage))}

    def _finish(self, delta: JsonObject) -> JsonObject:
        self._finished = True
        refusal = refusal_of(delta)
        last = {"refusal": refusal} if refusal else {}
        return self._chunk(last, finish_reason(delta.get("stop_reason")))

    def _content(self, text: str) -> JsonObject:
        self._characters += len(text)
        return self._chunk({"content": text})

    def _thought(self, block: _Block, text: Json) -> Iterator[JsonObject]:
        if isinstance(text, str) and text:
            self._thinking_size += len(text)
            if self._thinking_size > MAX_THINKING_CHARACTERS:
                raise MalformedAnswerError("the thinking is too long")
            block.thinking.append(text)
            yield self._chunk({"reasoning_content": text})

    def _arguments(self, block: _Block, part: str) -> JsonObject:
        return self._chunk(
            {"tool_calls": [{"index": block.ordinal, "function": {"arguments": part}}]}
        )

    def _chunk(self, delta: JsonObject, reason: str | None = None) -> JsonObject:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        chunk: JsonObject = {**(self._head or {}), "choices": [choice]}
        if self._include_usage:
            chunk["usage"] = None
        return chunk

    def _count(self, usage: Json) -> None:
        """Later counts overwrite: they are sums already."""
        told = as_object(usage)
        self._usage.update({name: count for name, count in told.items() if count is not None})
        self._usage_told = True

    def _open_block(self, event: JsonObject) -> _Block:
        block = self._blocks.get(_index(event))
        if block is None:
            raise MalformedAnswerError("an event is of a block that is not open")
        return block

    def _wire(self, chunks: Sequence[JsonObject]) -> bytes:
        shown = [chunk for chunk in chunks if chunk["choices"] or self._include_usage]
        events = [b"data: %b\n\n" % dumps(chunk) for chunk in shown]
        return b"".join([*events, _DONE] if self.done else events)


def _index(event: JsonObject) -> int:
    index = event.get("index")
    if not isinstance(index, int):
        raise MalformedAnswerError("an event names no block")
    return index


_AFTER_START = {
    _BLOCK_START: StreamReader._block_start,
    "content_block_delta": StreamReader._block_delta,
    "content_block_stop": StreamReader._block_stop,
    "message_delta": StreamReader._message_delta,
    "message_stop": StreamReader._message_stop,
}
