"""OpenAI's whole answers as Anthropic's messages. Pure.

Source: anthropic 2.11 `types/message.py`, `types/usage.py`, `types/stop_reason.py`,
`types/content_block.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic_core import from_json, to_json

from ailb_server.domain.chat import ChatChunk, Json, JsonObject, TokenUsage
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.json_text import mended
from ailb_server.domain.thoughts import interleaved

THINKING_BLOCKS = frozenset({"thinking", "redacted_thinking"})
# Where an answer's thoughts are: there is no name in OpenAI's own format.
_REASONING = ("reasoning_content", "reasoning")
STOP_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
    }
)


def message_body(chunk: ChatChunk) -> bytes:
    """A completion as a message. Raises UpstreamUnavailableError if it is malformed."""
    completion = first_object(chunk.events)
    choice = first_object(completion.get("choices"))
    told = object_of(choice.get("message"))
    calls = objects_of(told.get("tool_calls"))
    used = [_tool_use(completion, call, ordinal) for ordinal, call in enumerate(calls)]
    content = interleaved(_thoughts(told), _texts(told), used)
    reason = stop_reason(
        choice.get("finish_reason"), calls=bool(calls), refusal=bool(told.get("refusal"))
    )
    message = message_head(completion, content, chunk.usage or TokenUsage())
    # Unlike orjson it writes integers of any size, which arguments may hold.
    return to_json({**message, "stop_reason": reason})


def message_head(
    completion: JsonObject, content: list[JsonObject], usage: TokenUsage
) -> JsonObject:
    """A message that has not stopped yet."""
    return {
        "id": message_id(completion),
        "type": "message",
        "role": "assistant",
        "model": str(completion.get("model") or ""),
        "content": content,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_json(usage),
    }


def message_id(completion: JsonObject) -> str:
    """The provider's id, with Anthropic's prefix."""
    return "msg_" + str(completion.get("id") or "").removeprefix("chatcmpl-")


def call_id(completion: JsonObject, call: JsonObject, ordinal: int) -> str:
    """The provider's id of a tool call, or one made from its place."""
    told = call.get("id")
    return told if told and isinstance(told, str) else f"{message_id(completion)}_{ordinal}"


def usage_json(usage: TokenUsage) -> JsonObject:
    """Anthropic's usage: its input does not count what the cache served or took."""
    told: JsonObject = {
        "input_tokens": max(0, usage.prompt - usage.cached - usage.cache_write),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached,
        "output_tokens": usage.completion,
    }
    if usage.reasoning:
        told["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return told


def stop_reason(finish_reason: Json, *, calls: bool, refusal: bool) -> str:
    """Anthropic's name. Some servers say `stop` though they call tools."""
    reason = STOP_REASONS.get(finish_reason) if isinstance(finish_reason, str) else None
    reason = reason or "end_turn"
    if reason != "end_turn":
        return reason
    return "refusal" if refusal else "tool_use" if calls else reason


def reasoning_of(told: JsonObject) -> str:
    """The thoughts in a message or a delta, under whichever name they come."""
    return next((text for name in _REASONING if (text := text_of(told, name))), "")


def native_thoughts(told: JsonObject) -> list[JsonObject]:
    """Anthropic's own thinking blocks, where a provider hands them on."""
    blocks = told.get("thinking_blocks")
    found = objects_of(blocks) if blocks is not None else []
    return [block for block in found if block.get("type") in THINKING_BLOCKS]


def malformed() -> UpstreamUnavailableError:
    """The error for an answer that cannot be said in Anthropic's format."""
    return UpstreamUnavailableError("The provider's answer is malformed.")


def first_object(values: Json) -> JsonObject:
    """The first of a list of objects. Raises UpstreamUnavailableError."""
    return objects_of(values)[0] if values else object_of(None)


def objects_of(values: Json) -> list[JsonObject]:
    """A list's objects; none for null. Raises UpstreamUnavailableError."""
    if values is None:
        return []
    if not isinstance(values, list | tuple):
        raise malformed()
    return [object_of(value) for value in values]


def object_of(value: Json) -> JsonObject:
    """The object. Raises UpstreamUnavailableError."""
    if not isinstance(value, dict):
        raise malformed()
    return value


def text_of(values: JsonObject, name: str) -> str:
    """A text, empty for null. Raises UpstreamUnavailableError."""
    value = values.get(name)
    if value is not None and not isinstance(value, str):
        raise malformed()
    return value or ""


def _thoughts(told: JsonObject) -> list[JsonObject]:
    blocks = native_thoughts(told)
    reasoning = reasoning_of(told)
    if not blocks and reasoning:
        # Not Anthropic's, so without a signature that would prove them.
        return [{"type": "thinking", "thinking": reasoning, "signature": ""}]
    return blocks


def _texts(told: JsonObject) -> list[JsonObject]:
    text = text_of(told, "content") + text_of(told, "refusal")
    return [{"type": "text", "text": text}] if text else []


def _tool_use(completion: JsonObject, call: JsonObject, ordinal: int) -> JsonObject:
    function = object_of(call.get("function"))
    return {
        "type": "tool_use",
        "id": call_id(completion, call, ordinal),
        "name": text_of(function, "name"),
        "input": _input(text_of(function, "arguments")),
    }


def _input(arguments: str) -> JsonObject:
    """The arguments' object; as much of it as there is, if the answer was cut at its limit."""
    if not arguments.strip():
        return {}
    try:
        text = mended(arguments.encode())
        return object_of(from_json(text, allow_inf_nan=False, allow_partial=True))
    except ValueError:
        raise malformed() from None
