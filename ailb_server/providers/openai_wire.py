"""OpenAI's chat format as an upstream speaks it: what is sent, relayed and used. Pure."""

import re
from collections.abc import Callable, Sequence

import orjson

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, JsonObject, Operation, TokenUsage
from ailb_server.domain.errors import UntranslatableError
from ailb_server.domain.json_splice import append, splice
from ailb_server.domain.json_text import StreamedJson, exact_dumps, loads
from ailb_server.providers import openai_answer_check as check
from ailb_server.providers.credentials import kind_of
from ailb_server.providers.openai_block import plain_block
from ailb_server.providers.openai_usage import usage_of
from ailb_server.providers.sse import MAX_EVENT_BYTES, data_of, split_events

_USAGE_NULL = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_ASK_USAGE = b'{"include_usage":true}'
# What `fields` hold beyond OpenAI's API if the request came in another format, and OpenAI refuses.
_FOREIGN = frozenset({"top_k"})
_FOREIGN_OF_MESSAGE = frozenset({"thinking_blocks"})


class MalformedAnswerError(ValueError):
    """The upstream's answer is not of OpenAI's format."""


class ErrorAnswerError(ValueError):
    """The upstream's answer, though its status says success, is an error object.

    `event` is the stream's own event, for callers of its format.
    """

    event = b""


def sent_body(request: ChatRequest, model: str) -> tuple[bytes, tuple[str, ...]]:
    """The request as the upstream gets it, and the names of what it does not get."""
    if request.wire == "openai":
        return upstream_body(request, model), ()
    return translated_body(request, model)


def upstream_body(request: ChatRequest, model: str) -> bytes:
    """The request as the upstream gets it: the caller's bytes, edited as little as can be.

    The model's name at the provider replaces the caller's; AILB's own fields are taken out; streams
    always ask for usage, because it is metered.
    """
    edits: dict[str, bytes | None] = dict.fromkeys(sorted(request.own_fields))
    if model != request.model:
        edits["model"] = orjson.dumps(model)
    ask_usage = request.stream and not request.include_usage
    if ask_usage and request.fields.get("stream_options"):
        edits["stream_options"] = orjson.dumps(
            {**request.fields["stream_options"], "include_usage": True}
        )
    elif ask_usage and ("stream_options" in request.fields or edits):
        edits["stream_options"] = _ASK_USAGE
    elif ask_usage:
        return append(request.body, "stream_options", _ASK_USAGE)
    return splice(request.body, edits)


def whole_answer(body: bytes, request: ChatRequest) -> ChatChunk:
    """A non-streamed answer, checked and metered; its bytes stay as they are.

    Raises MalformedAnswerError, or ErrorAnswerError for an error in a success.
    """
    if request.operation is Operation.EMBEDDING:
        return embeddings(body, check.inputs_of(request.fields.get("input")))
    chunk = completion(body, request.operation)
    if request.wire != "openai":
        _check_translatable(chunk.events[0])
    return chunk


def completion(body: bytes, operation: Operation = Operation.CHAT) -> ChatChunk:
    """A completion for callers of this format. Raises as `whole_answer`."""
    answer = _object(body)
    if not check.is_whole(answer.get("choices"), operation):
        raise MalformedAnswerError("the answer has no choices, or one that says nothing")
    return ChatChunk((answer,), body, usage_of(answer.get("usage")))


def embeddings(body: bytes, inputs: int) -> ChatChunk:
    """A list of embeddings, one for each of the inputs. Raises as `whole_answer`."""
    answer = _object(body)
    data = answer.get("data")
    if not isinstance(data, list) or len(data) != inputs or not all(map(check.is_embedding, data)):
        raise MalformedAnswerError("not one embedding for each input")
    return ChatChunk((answer,), body, usage_of(answer.get("usage")))


def _check_translatable(completion: JsonObject) -> None:
    for choice in completion["choices"]:
        message = choice["message"]
        if not (check.is_translatable(message) and check.have_arguments(message)):
            raise MalformedAnswerError("the message is not of the format's types")


def translated_body(request: ChatRequest, model: str) -> tuple[bytes, tuple[str, ...]]:
    """A request that came in another format, written anew; and what OpenAI does not know of it."""
    foreign = {name for name in _FOREIGN if request.fields.get(name) is not None}
    fields: JsonObject = {
        name: value
        for name, value in request.fields.items()
        if name not in _FOREIGN and name not in request.own_fields
    }
    for message in fields["messages"]:
        foreign.update(f"messages.{name}" for name in _FOREIGN_OF_MESSAGE.intersection(message))
    native = [
        {name: value for name, value in message.items() if name not in _FOREIGN_OF_MESSAGE}
        for message in fields["messages"]
    ]
    fields["messages"] = [message for message in native if _says_something(message)]
    try:
        body = exact_dumps({**fields, "model": model})
    except orjson.JSONEncodeError:
        raise UntranslatableError("The request is nested too deeply.") from None
    return body, tuple(sorted(foreign))


def _says_something(message: JsonObject) -> bool:
    """Whether anything is left of the assistant's turn: the API refuses one that says nothing."""
    said = any(value for name, value in message.items() if name not in ("role", "name"))
    return said or message.get("role") != "assistant"


class StreamReader:
    """Reads a stream's events beside their relay: checks, meters, and hides usage not asked for.

    `done` is set by `[DONE]`, `begun` by the first choice, and `alive` tells whether the last block
    had any event since. What comes before it (Azure's `prompt_filter_results`) waits for it, so
    that the first chunk is an answer. A bad event after it is kept as `fault` until what came
    before is relayed: what was answered is delivered and metered. `translated`: callers get it in
    another format.
    """

    def __init__(self, *, include_usage: bool, translated: bool = False) -> None:
        self._include_usage = include_usage
        self._translated = translated
        self._held: ChatChunk | None = None
        self._json = StreamedJson()
        self.done = False
        self.alive = False
        self.begun = False
        self.fault: ValueError | None = None

    def read(self, block: bytes) -> ChatChunk:
        """Turns a block of whole events into one chunk, empty until `begun`.

        Raises MalformedAnswerError or ErrorAnswerError for a bad event before that.
        """
        chunk = self._plain(block) or self._read(block)
        if self._held:
            chunk = _joined(self._held, chunk)
        if self.begun:
            self._held = None
            return chunk
        self._held = chunk
        if len(chunk.wire) > MAX_EVENT_BYTES:
            raise MalformedAnswerError("the stream has no beginning")
        return ChatChunk((), b"")

    def _read(self, block: bytes) -> ChatChunk:
        chunks: list[JsonObject] = []
        kept: list[bytes] = []
        usage: TokenUsage | None = None
        for event in split_events(block):
            data = data_of(event)
            data = data.strip() if data else b""
            if data == b"[DONE]":
                self.done = True
            # What follows the end is no answer, nor a fault.
            if data and not self.done:
                chunk = self._checked(data)
                if chunk is None:
                    break
                chunks.append(chunk)
                if "usage" in chunk:
                    usage = usage_of(chunk["usage"]) or usage
                    event = self._shown(event, data, chunk)  # noqa: PLW2901
            kept.append(event)
        self.alive = self.begun and bool(chunks)
        if self.fault is None and (self._include_usage or b'"usage"' not in block):
            return ChatChunk(chunks, block, usage)
        return ChatChunk(chunks, b"".join([event + b"\n\n" for event in kept if event]), usage)

    def _plain(self, block: bytes) -> ChatChunk | None:
        if self._translated and not self.begun:
            return None
        plain = plain_block(block, include_usage=self._include_usage)
        if plain is None:
            return None
        self.done = plain.done
        self.begun = self.begun or any(chunk["choices"] for chunk in plain.chunks)
        self.alive = self.begun
        return ChatChunk(plain.chunks, plain.wire, plain.usage)

    def _checked(self, data: bytes) -> JsonObject | None:
        """The event's object; None, and the fault, if it is bad and others went before."""
        try:
            chunk = _object(data, self._json.loads)
            choices = chunk.get("choices")
            if not check.are_choices(choices) and not (choices is None and self.begun):
                raise MalformedAnswerError("an event has no choices")
            if choices and not self.begun:
                self._begin(choices)
        except ValueError as error:
            if not self.begun:
                raise
            self.fault = error
            return None
        return chunk

    def _shown(self, event: bytes, data: bytes, chunk: JsonObject) -> bytes:
        """The event without what asking for usage put into it; empty if that was all."""
        if self._include_usage:
            return event
        if chunk["usage"] is not None:
            return b"" if chunk.get("choices") == [] and chunk["usage"] else event
        return _without_null(event, data)

    def _begin(self, choices: Sequence[JsonObject]) -> None:
        if self._translated:
            for choice in choices:
                if not check.is_translatable(choice.get("delta") or {}):
                    raise MalformedAnswerError("the first delta is not of the format's types")
        self.begun = True


def _without_null(event: bytes, data: bytes) -> bytes:
    if data.count(b'"usage"') == 1:
        shown = _USAGE_NULL.sub(b"", event)
        if shown != event:
            return shown
    return b"data: " + splice(data, {"usage": None})


def _joined(held: ChatChunk, chunk: ChatChunk) -> ChatChunk:
    events = [*held.events, *chunk.events]
    return ChatChunk(events, held.wire + chunk.wire, chunk.usage or held.usage)


def _object(text: bytes, parse: Callable[[bytes], Json] = loads) -> JsonObject:
    try:
        value = parse(text)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError("the answer is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedAnswerError("the answer is not a JSON object")
    told = value if value.get("object") == "error" else value.get("error")
    if told:
        raise ErrorAnswerError(_error_kind(told))
    return value


def _error_kind(error: Json) -> str:
    """The machine-readable part of an error object: its message may quote the prompt."""
    if not isinstance(error, dict):
        return "unknown"
    return kind_of(error.get("code") or error.get("type"))
