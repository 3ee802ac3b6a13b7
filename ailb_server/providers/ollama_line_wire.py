"""One line of Ollama's answers to `/api/chat`, in OpenAI's words. Pure.

Source: `ChatResponse`, `Message`, `Metrics`, `Logprob` in ollama's api/types.go. A stream is one
such object per line; a whole answer is one line with everything, so both are read alike.
"""

import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import orjson

from ailb_server.domain.chat import Json, JsonObject, TokenUsage
from ailb_server.domain.json_text import StreamedJson, exact, exact_dumps
from ailb_server.providers.openai_usage import count_of
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError

# Reasons without a row (`load`, `unload`, none at all) are ends like any other.
_FINISH_REASONS: Mapping[str, str] = {"stop": "stop", "length": "length"}


def _random_token() -> str:
    return uuid.uuid4().hex


@dataclass(frozen=True, slots=True)
class Mint:
    """What Ollama does not give: tokens for ids, and the time if `created_at` is absent."""

    token: Callable[[], str] = _random_token
    now: Callable[[], float] = time.time


@dataclass(frozen=True, slots=True)
class Said:
    """What one line adds: `delta` is OpenAI's, `logprobs` its tokens' if there are any."""

    delta: JsonObject
    logprobs: list[JsonObject] = field(default_factory=list)


class LineReader:
    """Reads one answer's lines, in order. `finish_reason` and `usage` are there once `done`."""

    def __init__(self, model: str, mint: Mint) -> None:
        self._mint = mint
        self._model = model
        self._calls = 0
        self._json = StreamedJson()
        self.head: JsonObject = {}
        self.done = False
        self.finish_reason = ""
        self.usage = TokenUsage()

    def read(self, line: bytes) -> Said:
        """Raises MalformedAnswerError, or ErrorAnswerError for an error line."""
        answer = self._object(line)
        done = answer.get("done") is True
        message = answer.get("message")
        if message is None and done:
            message = {}
        if not isinstance(message, dict):
            raise MalformedAnswerError("the line has no message")
        if message.get("tool_calls"):
            message = exact(line, answer).get("message")
        self.head = self.head or self._head(answer)
        said = Said(self._delta(message), [_token(t) for t in _list(answer, "logprobs")])
        if done:
            self._finish(answer)
        return said

    def _object(self, line: bytes) -> JsonObject:
        try:
            value: Json = self._json.loads(line)
        except orjson.JSONDecodeError as error:
            raise MalformedAnswerError("the line is not JSON") from error
        if not isinstance(value, dict):
            raise MalformedAnswerError("the line is not a JSON object")
        if value.get("error"):
            # Its text is not told: it may quote the prompt.
            raise ErrorAnswerError("an error line")
        return value

    def _head(self, answer: JsonObject) -> JsonObject:
        return {
            "id": f"chatcmpl-{self._mint.token()}",
            "created": _unix_time(answer.get("created_at"), self._mint.now),
            "model": _text(answer, "model") or self._model,
        }

    def _delta(self, message: JsonObject) -> JsonObject:
        delta: JsonObject = {}
        if content := _text(message, "content"):
            delta["content"] = content
        if thinking := _text(message, "thinking"):
            delta["reasoning_content"] = thinking
        if calls := _list(message, "tool_calls"):
            delta["tool_calls"] = [self._call(call) for call in calls]
        return delta

    def _call(self, call: JsonObject) -> JsonObject:
        """Its index is its place in the answer: Ollama counts anew in every line."""
        function = call.get("function")
        if not isinstance(function, dict) or not _text(function, "name"):
            raise MalformedAnswerError("the tool call has no function")
        index, self._calls = self._calls, self._calls + 1
        return {
            "index": index,
            "id": _text(call, "id") or f"call_{self._mint.token()}",
            "type": "function",
            "function": {
                "name": function["name"],
                "arguments": _arguments(function.get("arguments")),
            },
        }

    def _finish(self, answer: JsonObject) -> None:
        self.done = True
        reason = _FINISH_REASONS.get(_text(answer, "done_reason"), "stop")
        self.finish_reason = "tool_calls" if reason == "stop" and self._calls else reason
        # Counts of zero are left out on the wire.
        self.usage = TokenUsage(
            prompt=count_of(answer, "prompt_eval_count"), completion=count_of(answer, "eval_count")
        )


def _text(values: JsonObject, name: str) -> str:
    value = values.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise MalformedAnswerError(f"`{name}` is not a string")
    return value


def _list(values: JsonObject, name: str) -> list[JsonObject]:
    value = values.get(name)
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise MalformedAnswerError(f"`{name}` is not a list of objects")
    return value


def _arguments(arguments: Json) -> str:
    if arguments is None:
        return "{}"
    if isinstance(arguments, str):
        return arguments
    try:
        return exact_dumps(arguments).decode()
    except orjson.JSONEncodeError as error:
        raise MalformedAnswerError("the arguments are nested too deeply") from error


def _token(token: JsonObject) -> JsonObject:
    """Ollama leaves out `bytes` and `top_logprobs` where they are empty, OpenAI does not."""
    return {
        **_bare_token(token),
        "top_logprobs": [_bare_token(other) for other in _list(token, "top_logprobs")],
    }


def _bare_token(token: JsonObject) -> JsonObject:
    logprob = token.get("logprob")
    if not isinstance(logprob, int | float):
        raise MalformedAnswerError("a token has no log probability")
    return {"token": _text(token, "token"), "logprob": logprob, "bytes": token.get("bytes")}


def _unix_time(created_at: Json, now: Callable[[], float]) -> int:
    """Seconds of an RFC 3339 time, which Go writes with up to nine decimals."""
    try:
        seconds = int(datetime.fromisoformat(created_at).timestamp())
    except (TypeError, ValueError, OverflowError):
        seconds = 0
    # Go's zero time is long before 1970.
    return seconds if seconds > 0 else int(now())
