"""Ollama's answers to `/api/chat` as OpenAI writes them, streamed and whole. Pure."""

from collections.abc import Iterator, Sequence

import orjson

from ailb_server.domain.chat import ChatChunk, JsonObject, TokenUsage
from ailb_server.providers.ndjson import LineCutter
from ailb_server.providers.ollama_line_wire import LineReader, Mint, Said
from ailb_server.providers.openai_wire import MalformedAnswerError

_DONE = b"data: [DONE]\n\n"


class StreamReader:
    """Turns the lines of each read into one chunk of OpenAI's events.

    A bad line after good ones is kept as `fault` until what came before it is told.
    """

    def __init__(self, model: str, *, include_usage: bool, mint: Mint) -> None:
        self._lines = LineReader(model, mint)
        self._include_usage = include_usage
        # Set by the first line.
        self.begun = False
        self.fault: ValueError | None = None

    @property
    def done(self) -> bool:
        """Whether the last line was there."""
        return self._lines.done

    @property
    def alive(self) -> bool:
        """Whether the last lines were a sign of life: any is."""
        return self.begun

    def read(self, lines: Sequence[bytes]) -> ChatChunk:
        """Raises as `LineReader.read` until `begun`. Lines after the last are not looked at."""
        if self.done:
            return ChatChunk((), b"")
        events = list(self._good(lines))
        wire = b"".join(_event_text(event) for event in events)
        if not self.done:
            return ChatChunk(events, wire)
        usage = self._event([], usage_object(self._lines.usage))
        if self._include_usage:
            wire += _event_text(usage)
        return ChatChunk([*events, usage], wire + _DONE, self._lines.usage)

    def _good(self, lines: Sequence[bytes]) -> Iterator[JsonObject]:
        """The events up to a bad line."""
        for line in lines:
            if self.done:
                return
            try:
                events = self._events(line)
            except ValueError as error:
                if not self.begun:
                    raise
                self.fault = error
                return
            self.begun = True
            yield from events

    def _events(self, line: bytes) -> list[JsonObject]:
        said = self._lines.read(line)
        events = [] if self.begun else [self._choice({"role": "assistant", "content": ""})]
        if said.delta or said.logprobs:
            events.append(self._choice(said.delta, logprobs=said.logprobs))
        if self.done:
            events.append(self._choice({}, self._lines.finish_reason))
        return events

    def _choice(
        self,
        delta: JsonObject,
        finish_reason: str | None = None,
        logprobs: list[JsonObject] | None = None,
    ) -> JsonObject:
        choice = {
            "index": 0,
            "delta": delta,
            "logprobs": _logprobs(logprobs),
            "finish_reason": finish_reason,
        }
        return self._event([choice], None)

    def _event(self, choices: list[JsonObject], usage: JsonObject | None) -> JsonObject:
        head = self._lines.head
        event: JsonObject = {
            "id": head["id"],
            "object": "chat.completion.chunk",
            "created": head["created"],
            "model": head["model"],
            "choices": choices,
        }
        if usage is not None or self._include_usage:
            event["usage"] = usage
        return event


def completion(body: bytes, model: str, mint: Mint) -> ChatChunk:
    """A whole answer. Raises MalformedAnswerError or ErrorAnswerError."""
    reader = LineReader(model, mint)
    cutter = LineCutter()
    lines = (*cutter.feed(body), *cutter.finish())
    said = [reader.read(line) for line in lines if not reader.done]
    if not reader.done:
        raise MalformedAnswerError("the answer is not done")
    choice = {
        "index": 0,
        "message": _message(said),
        "logprobs": _logprobs([token for piece in said for token in piece.logprobs]),
        "finish_reason": reader.finish_reason,
    }
    answer: JsonObject = {
        "id": reader.head["id"],
        "object": "chat.completion",
        "created": reader.head["created"],
        "model": reader.head["model"],
        "choices": [choice],
        "usage": usage_object(reader.usage),
    }
    return ChatChunk((answer,), orjson.dumps(answer), reader.usage)


def usage_object(usage: TokenUsage) -> JsonObject:
    """OpenAI's usage, as far as Ollama tells it."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
    }


def _message(said: Sequence[Said]) -> JsonObject:
    deltas = [piece.delta for piece in said]
    content = "".join(delta.get("content", "") for delta in deltas)
    thinking = "".join(delta.get("reasoning_content", "") for delta in deltas)
    calls = [call for delta in deltas for call in delta.get("tool_calls", ())]
    message: JsonObject = {"role": "assistant", "content": content, "refusal": None}
    if calls:
        message["content"] = content or None
        message["tool_calls"] = [
            {name: call[name] for name in ("id", "type", "function")} for call in calls
        ]
    if thinking:
        message["reasoning_content"] = thinking
    return message


def _event_text(event: JsonObject) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"


def _logprobs(tokens: list[JsonObject] | None) -> JsonObject | None:
    return {"content": tokens, "refusal": None} if tokens else None
