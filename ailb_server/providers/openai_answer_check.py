"""Whether a success of OpenAI's format holds an answer, told before it commits a target. Pure.

Callers of the format itself are given whatever a server says within a choice: clients differ in
what they read. Where it is translated, it must be of the format's types.
"""

from collections.abc import Mapping
from types import MappingProxyType

from pydantic_core import from_json

from ailb_server.domain.chat import Json, JsonObject, Operation
from ailb_server.domain.json_text import mended

# What a choice of a whole answer says.
_SAYS: Mapping[Operation, tuple[str, type]] = MappingProxyType(
    {Operation.CHAT: ("message", dict), Operation.COMPLETION: ("text", str)}
)
# Once for all: `dict | None` is made anew wherever it is written.
_DELTA = (dict, type(None))
_TEXTS = ("content", "refusal", "reasoning_content", "reasoning")


def are_choices(choices: Json) -> bool:
    """Whether they can be a stream's: objects, each with a delta or none."""
    if not isinstance(choices, list):
        return False
    for choice in choices:
        if not isinstance(choice, dict) or not isinstance(choice.get("delta", {}), _DELTA):
            return False
    return True


def is_whole(choices: Json, operation: Operation) -> bool:
    """Whether there are choices, and each says something."""
    member, kind = _SAYS[operation]
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(c, dict) and isinstance(c.get(member), kind) for c in choices)
    )


def is_translatable(told: JsonObject) -> bool:
    """Whether a message, or the first delta of a stream, is of the format's types."""
    calls = told.get("tool_calls")
    return (
        all(isinstance(told.get(name), str | None) for name in _TEXTS)
        and isinstance(told.get("thinking_blocks"), list | None)
        and (calls is None or (isinstance(calls, list) and all(map(_is_call, calls))))
    )


def have_arguments(message: JsonObject) -> bool:
    """Whether each call's arguments are an object, or the beginning of one if it was cut."""
    return all(_is_object(call["function"].get("arguments")) for call in _calls(message))


def is_embedding(item: Json) -> bool:
    """Whether it is a list of numbers, which are not looked at, or their base64."""
    vector = item.get("embedding") if isinstance(item, dict) else None
    return isinstance(vector, list | str) and bool(vector)


def inputs_of(given: Json) -> int:
    """How many texts, or lists of tokens, an embedding request asks for."""
    if isinstance(given, list) and given and not isinstance(given[0], int):
        return len(given)
    return 1


def _calls(message: JsonObject) -> list[JsonObject]:
    return message.get("tool_calls") or []


def _is_call(call: Json) -> bool:
    function = call.get("function") if isinstance(call, dict) else None
    return (
        isinstance(function, dict)
        and isinstance(name := function.get("name"), str)
        and bool(name)
        and isinstance(function.get("arguments"), str | None)
    )


def _is_object(arguments: str | None) -> bool:
    if not arguments or not arguments.strip():
        return True
    try:
        text = mended(arguments.encode())
        value = from_json(text, allow_inf_nan=False, allow_partial=True)
    except ValueError:
        return False
    return isinstance(value, dict)
