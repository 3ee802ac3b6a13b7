"""OpenAI's chat format as an upstream speaks it: what is sent, relayed and used. Pure."""

import re
from collections.abc import Callable

import orjson

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, JsonObject, TokenUsage
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.json_text import StreamedJson, exact_dumps, loads
from ailb_server.providers.json_splice import append, splice
from ailb_server.providers.sse import data_of, split_events

_USAGE_NULL = re.compile(rb',\s*"usage"\s*:\s*null(?=\s*[,}])')
_ASK_USAGE = b'{"include_usage":true}'
# What `fields` hold beyond OpenAI's API if the request came in another format, and OpenAI refuses.
_FOREIGN = frozenset({"top_k"})
_FOREIGN_OF_MESSAGE = frozenset({"thinking_blocks"})


class MalformedAnswerError(ValueError):
    """The upstream's answer is not of OpenAI's format."""


class ErrorAnswerError(ValueError):
    """The upstream's answer, though its status says success, is an error object."""


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


def completion(body: bytes) -> ChatChunk:
    """A non-streamed answer, checked and metered; its bytes stay as they are."""
    answer = _object(body)
    if not isinstance(answer.get("choices"), list):
        raise MalformedAnswerError("the answer has no choices")
    return ChatChunk((answer,), body, usage_of(answer.get("usage")))


def embeddings(body: bytes) -> ChatChunk:
    """A list of embeddings, checked and metered; its bytes stay as they are."""
    answer = _object(body)
    if not isinstance(answer.get("data"), list):
        raise MalformedAnswerError("the answer has no data")
    return ChatChunk((answer,), body, usage_of(answer.get("usage")))


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
        raise InvalidRequestError("The request is nested too deeply.") from None
    return body, tuple(sorted(foreign))


def _says_something(message: JsonObject) -> bool:
    """Whether anything is left of the assistant's turn: the API refuses one that says nothing."""
    said = any(value for name, value in message.items() if name not in ("role", "name"))
    return said or message.get("role") != "assistant"


class StreamReader:
    """Reads a stream's events beside their relay: checks, meters, and hides usage not asked for.

    `done` is set by `[DONE]`, `begun` by the first event, and `alive` tells whether the last block
    had any. A bad event after good ones is kept as `fault` until those are relayed: what was
    answered is delivered and metered.
    """

    def __init__(self, *, include_usage: bool) -> None:
        self._include_usage = include_usage
        self._json = StreamedJson()
        self.done = False
        self.alive = False
        self.begun = False
        self.fault: ValueError | None = None

    def read(self, block: bytes) -> ChatChunk:
        """Turns a block of whole events into one chunk. Raises if its first event is bad."""
        chunks: list[JsonObject] = []
        kept: list[bytes] = []
        usage: TokenUsage | None = None
        for event in split_events(block):
            data = data_of(event)
            data = data.strip() if data else b""
            # What follows the end is no answer, nor a fault.
            self.done = self.done or data == b"[DONE]"
            if data and not self.done:
                chunk = self._checked(data)
                if chunk is None:
                    break
                usage = usage_of(chunk.get("usage")) or usage
                chunks.append(chunk)
                if self._hides(chunk):
                    continue
                event = self._shown(event, data, chunk)  # noqa: PLW2901
            kept.append(event)
        self.alive = bool(chunks)
        if self.fault is None and (self._include_usage or b'"usage"' not in block):
            return ChatChunk(chunks, block, usage)
        return ChatChunk(chunks, b"".join(event + b"\n\n" for event in kept), usage)

    def _checked(self, data: bytes) -> JsonObject | None:
        """The event's object; None, and the fault, if it is bad and others went before."""
        try:
            chunk = _object(data, self._json.loads)
            if not self.begun and not isinstance(chunk.get("choices"), list):
                raise MalformedAnswerError("the stream begins without choices")
        except ValueError as error:
            if not self.begun:
                raise
            self.fault = error
            return None
        self.begun = True
        return chunk

    def _hides(self, chunk: JsonObject) -> bool:
        return not self._include_usage and chunk.get("choices") == [] and bool(chunk.get("usage"))

    def _shown(self, event: bytes, data: bytes, chunk: JsonObject) -> bytes:
        """The event without the `usage: null` that asking for usage put into it."""
        if self._include_usage or chunk.get("usage", 0) is not None:
            return event
        shown = _USAGE_NULL.sub(b"", event) if data.count(b'"usage"') == 1 else event
        return b"data: " + splice(data, {"usage": None}) if shown == event else shown


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
    return str(error.get("code") or error.get("type") or "unknown")[:64]


def usage_of(usage: Json) -> TokenUsage | None:
    """The tokens of OpenAI's usage object; None if there is no such object."""
    if not isinstance(usage, dict):
        return None
    prompt_details = usage.get("prompt_tokens_details")
    completion_details = usage.get("completion_tokens_details")
    return TokenUsage(
        prompt=count_of(usage, "prompt_tokens"),
        completion=count_of(usage, "completion_tokens"),
        cached=count_of(prompt_details, "cached_tokens"),
        cache_write=count_of(prompt_details, "cache_write_tokens"),
        reasoning=count_of(completion_details, "reasoning_tokens"),
    )


def count_of(values: Json, name: str) -> int:
    """A member that counts; 0 if it does not."""
    value = values.get(name) if isinstance(values, dict) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return max(0, int(value))
