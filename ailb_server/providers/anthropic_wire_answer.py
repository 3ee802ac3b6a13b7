"""Anthropic's whole answers and errors in OpenAI's shape. Pure.

Source: anthropic 2.11 `types/message.py`, `types/usage.py`, `types/stop_reason.py`,
`types/shared/error_response.py`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

import orjson

from ailb_server.domain.chat import ChatChunk, Json, JsonObject, TokenUsage
from ailb_server.domain.json_text import exact_dumps, exact_loads
from ailb_server.domain.thoughts import placed
from ailb_server.providers.anthropic_wire_messages import THINKING_BLOCKS
from ailb_server.providers.credentials import kind_of
from ailb_server.providers.openai_usage import count_of
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError
from ailb_server.providers.upstream_errors import CONTEXT_LENGTH_CODE

FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "pause_turn": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
    }
)
_ALWAYS_TOLD = frozenset({"role", "content", "refusal"})
_TOO_LONG = "prompt is too long"
_TIERS = MappingProxyType({"standard": "default", "priority": "priority"})


def completion(body: bytes, created: int) -> ChatChunk:
    """A whole answer. `created` is in Unix seconds.

    Raises MalformedAnswerError, or ErrorAnswerError for an error in a success.
    """
    message = json_object(body)
    if message.get("type") == "error":
        raise ErrorAnswerError(error_kind(message))
    content = message.get("content")
    is_content = isinstance(content, list) and all(isinstance(block, dict) for block in content)
    if message.get("type") != "message" or not is_content:
        raise MalformedAnswerError("the answer is not a message")
    usage = usage_of(as_object(message.get("usage")))
    choice = {
        "index": 0,
        "message": _message(message),
        "logprobs": None,
        "finish_reason": finish_reason(message.get("stop_reason")),
    }
    answer: JsonObject = {
        **envelope(message, "chat.completion", created),
        "choices": [choice],
        "usage": usage_json(usage),
    }
    return ChatChunk((answer,), dumps(answer), usage)


def envelope(message: JsonObject, kind: str, created: int) -> JsonObject:
    """What a completion and each chunk of a stream begin with."""
    head: JsonObject = {
        "id": f"chatcmpl-{_text(message, 'id')}",
        "object": kind,
        "created": created,
        "model": _text(message, "model"),
    }
    tier = as_object(message.get("usage")).get("service_tier")
    if isinstance(tier, str) and tier in _TIERS:
        head["service_tier"] = _TIERS[tier]
    return head


def finish_reason(stop_reason: Json) -> str:
    """OpenAI's name; `stop` for a reason that is not known yet."""
    return FINISH_REASONS.get(stop_reason, "stop") if isinstance(stop_reason, str) else "stop"


def refusal_of(message: JsonObject) -> str | None:
    """Why the model refused, where the provider explains it."""
    explanation = as_object(message.get("stop_details")).get("explanation")
    refused = message.get("stop_reason") == "refusal"
    return explanation if refused and isinstance(explanation, str) else None


def usage_of(usage: JsonObject) -> TokenUsage:
    """The tokens of Anthropic's usage object: its input does not count what the cache served."""
    cached = count_of(usage, "cache_read_input_tokens")
    cache_write = count_of(usage, "cache_creation_input_tokens")
    return TokenUsage(
        prompt=count_of(usage, "input_tokens") + cached + cache_write,
        completion=count_of(usage, "output_tokens"),
        cached=cached,
        cache_write=cache_write,
        reasoning=count_of(as_object(usage.get("output_tokens_details")), "thinking_tokens"),
    )


def usage_json(usage: TokenUsage) -> JsonObject:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt,
        "completion_tokens": usage.completion,
        "total_tokens": usage.prompt + usage.completion,
        "prompt_tokens_details": {
            "cached_tokens": usage.cached,
            "cache_write_tokens": usage.cache_write,
        },
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def openai_error(body: bytes) -> bytes:
    """An error body in OpenAI's shape; empty if `body` is not of Anthropic's."""
    try:
        error = json_object(body)["error"]
        kind, message = str(error["type"]), str(error["message"])
    except (ErrorAnswerError, MalformedAnswerError, KeyError, TypeError):
        return b""
    code = None if kind == "invalid_request_error" else kind
    if is_prompt_too_long(body):
        code = CONTEXT_LENGTH_CODE
    told = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return orjson.dumps({"error": told})


def is_prompt_too_long(body: bytes) -> bool:
    """Whether an error body says that the prompt is longer than the model's context.

    The API has no type or code for it: it is an `invalid_request_error` whose message begins
    `prompt is too long: N tokens > M maximum`, and anthropic 2.11 (`types/shared/error_object.py`)
    knows no other. A message that comes to differ is an ordinary refusal.
    """
    try:
        error = as_object(json_object(body).get("error"))
    except MalformedAnswerError:
        return False
    message = error.get("message")
    return (
        error.get("type") == "invalid_request_error"
        and isinstance(message, str)
        and message.startswith(_TOO_LONG)
    )


def error_kind(event: JsonObject) -> str:
    """The machine-readable part of an error: its message may quote the prompt."""
    return kind_of(as_object(event.get("error")).get("type"))


def check_count(body: bytes) -> None:
    """Of an answer to a count of tokens. Raises MalformedAnswerError or ErrorAnswerError."""
    told = json_object(body)
    if told.get("type") == "error":
        raise ErrorAnswerError(error_kind(told))
    if not isinstance(told.get("input_tokens"), int):
        raise MalformedAnswerError("no count of tokens")


def json_object(text: bytes, parse: Callable[[bytes], Json] = exact_loads) -> JsonObject:
    """Parses an object. Raises MalformedAnswerError."""
    try:
        value = parse(text)
    except orjson.JSONDecodeError as error:
        raise MalformedAnswerError("the answer is not JSON") from error
    if not isinstance(value, dict):
        raise MalformedAnswerError("the answer is not a JSON object")
    return value


def as_object(value: Json) -> JsonObject:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def text_of(block: JsonObject, name: str) -> str:
    """A text member of a block. Raises MalformedAnswerError."""
    value = block.get(name)
    if not isinstance(value, str):
        raise MalformedAnswerError(f"a block's {name} is not a text")
    return value


def dumps(value: Json) -> bytes:
    """Writes JSON. Raises MalformedAnswerError for what is nested deeper than can be written."""
    try:
        return exact_dumps(value)
    except orjson.JSONEncodeError as error:
        raise MalformedAnswerError("the answer is nested too deeply") from error


def input_of(block: JsonObject) -> JsonObject:
    """A tool's arguments; none if there are none. Raises MalformedAnswerError."""
    value = block.get("input")
    if not isinstance(value, dict | None):
        raise MalformedAnswerError("a tool's input is not an object")
    return value or {}


def tool_call(block: JsonObject, arguments: str) -> JsonObject:
    """OpenAI's tool call for a `tool_use` block."""
    function = {"name": text_of(block, "name"), "arguments": arguments}
    return {"id": text_of(block, "id"), "type": "function", "function": function}


def _message(message: JsonObject) -> JsonObject:
    """Blocks of kinds that no request of ours can lead to are left out."""
    texts: list[str] = []
    thoughts: list[JsonObject] = []
    calls: list[JsonObject] = []
    for block in message["content"]:
        kind = block.get("type")
        if kind == "text":
            texts.append(text_of(block, "text"))
        elif kind == "tool_use":
            calls.append(tool_call(block, dumps(input_of(block)).decode()))
        elif kind in THINKING_BLOCKS:
            thoughts.append(placed(block, sum(map(len, texts)), len(calls)))
    told: JsonObject = {
        "role": "assistant",
        "content": "".join(texts) if any(texts) else None,
        "refusal": refusal_of(message),
        "reasoning_content": "".join(map(_thinking, thoughts)),
        "thinking_blocks": thoughts,
        "tool_calls": calls,
    }
    # Members that OpenAI's own answers only have if they say something.
    return {name: value for name, value in told.items() if value or name in _ALWAYS_TOLD}


def _thinking(block: JsonObject) -> str:
    return text_of(block, "thinking") if block["type"] == "thinking" else ""


def _text(message: JsonObject, name: str) -> str:
    value = message.get(name)
    return value if isinstance(value, str) else ""
