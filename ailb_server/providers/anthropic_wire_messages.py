"""A conversation in OpenAI's shape as Anthropic's `system` and `messages`. Pure.

Source: anthropic 2.11 `types/message_param.py`, `types/tool_result_block_param.py`,
`types/thinking_block_param.py`.
"""

from collections.abc import Sequence

import orjson

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.json_text import exact_loads
from ailb_server.domain.request_fields import (
    name_at,
    object_at,
    objects_at,
    refused,
    text_at,
    unable,
    unheeded,
)
from ailb_server.domain.thoughts import interleaved
from ailb_server.providers.anthropic_wire_content import (
    ASSISTANT_PARTS,
    RESULT_PARTS,
    TEXT_PARTS,
    USER_PARTS,
    blocks,
    compact,
    text_blocks,
)

THINKING_BLOCKS = frozenset({"thinking", "redacted_thinking"})
# Turns that were written in another provider's way of calling or speaking.
_NOT_TAKEN = ("function_call", "audio")
_SAID = frozenset({"role", "content"})
_ANSWERED = _SAID | {
    "refusal",
    "tool_calls",
    "thinking_blocks",
    "reasoning_content",
    *_NOT_TAKEN,
}
_MEMBERS = {"assistant": _ANSWERED, "tool": _SAID | {"tool_call_id"}}


class Conversation:
    """Collects messages turn by turn; `system` and `messages` are whole after `finish`.

    A user's turn is everything between two of the assistant's. The API wants the tool results of a
    turn together and before all else, and a system message amid the conversation right behind a
    user's turn: so each turn is put in that order. A model that takes no system message there gets
    it in `system`.
    """

    def __init__(self, *, system_amid: bool) -> None:
        self.system: list[JsonObject] = []
        self.messages: list[JsonObject] = []
        self.ignored: set[str] = set()
        self._system_amid = system_amid
        self._results: list[JsonObject] = []
        self._said: list[JsonObject] = []
        self._told: list[JsonObject] = []

    def add(self, message: JsonObject, param: str) -> None:
        """Takes the next message. Raises InvalidRequestError."""
        role = message.get("role")
        known = _MEMBERS.get(role, _SAID) if isinstance(role, str) else _SAID
        self.ignored |= unheeded(message, known, "messages")
        match role:
            case "system" | "developer":
                self._told += self._blocks(message, param, TEXT_PARTS)
            case "user":
                self._add_user(message, param)
            case "assistant":
                self._add_assistant(message, param)
            case "tool":
                self._results.append(self._result(message, param))
            case _:
                raise unable(f"{param}.role", "is not a role that this provider knows")

    def finish(self) -> None:
        """Closes the last turn. Raises InvalidRequestError if nobody has said anything."""
        self._close_turn()
        if not self.messages:
            raise unable("messages", "must hold a user message for this provider")

    def _add_user(self, message: JsonObject, param: str) -> None:
        said = self._blocks(message, param, USER_PARTS)
        if not said:
            raise unable(f"{param}.content", "must not be empty for this provider")
        if self._told and not self.messages and not self._said and not self._results:
            self.system += self._told
            self._told = []
        self._said += said

    def _add_assistant(self, message: JsonObject, param: str) -> None:
        self._close_turn()
        content = assistant_blocks(message, param, self.ignored)
        # An answer that said nothing, which callers keep in their history and the API refuses.
        if content:
            self.messages.append({"role": "assistant", "content": compact(content)})

    def _result(self, message: JsonObject, param: str) -> JsonObject:
        call = name_at(message.get("tool_call_id"), f"{param}.tool_call_id")
        result: JsonObject = {"type": "tool_result", "tool_use_id": call}
        content = self._blocks(message, param, RESULT_PARTS)
        marks = [mark for block in content if (mark := block.pop("cache_control", None))]
        if content:
            result["content"] = compact(content)
        if marks:
            # The cache's unit is the whole result.
            result["cache_control"] = marks[-1]
        return result

    def _close_turn(self) -> None:
        content = self._results + self._said
        if content:
            self.messages.append({"role": "user", "content": compact(content)})
        if self._told and content and self._system_amid:
            self.messages.append({"role": "system", "content": compact(self._told)})
        else:
            self.system += self._told
        self._results, self._said, self._told = [], [], []

    def _blocks(self, message: JsonObject, param: str, parts: frozenset[str]) -> list[JsonObject]:
        return blocks(message.get("content"), f"{param}.content", parts, self.ignored)


def conversation(messages: Sequence[JsonObject], *, system_amid: bool) -> Conversation:
    """The whole conversation. Raises InvalidRequestError."""
    talk = Conversation(system_amid=system_amid)
    for message, param in objects_at(messages, "messages"):
        talk.add(message, param)
    talk.finish()
    return talk


def assistant_blocks(message: JsonObject, param: str, ignored: set[str]) -> list[JsonObject]:
    """Texts, then tool calls, and each thought at its place. Raises InvalidRequestError."""
    for name in _NOT_TAKEN:
        if message.get(name) is not None:
            raise unable(f"{param}.{name}", "is not supported by this provider")
    thoughts = [
        _thinking(block, path)
        for block, path in objects_at(message.get("thinking_blocks"), f"{param}.thinking_blocks")
    ]
    if message.get("reasoning_content") and not thoughts:
        # Without its signature the API does not take a thought back.
        ignored.add("messages.reasoning_content")
    texts = blocks(message.get("content"), f"{param}.content", ASSISTANT_PARTS, ignored)
    if message.get("refusal") is not None:
        texts += text_blocks(text_at(message["refusal"], f"{param}.refusal"))
    calls = objects_at(message.get("tool_calls"), f"{param}.tool_calls")
    return interleaved(thoughts, texts, [_tool_use(call, path, ignored) for call, path in calls])


def _thinking(block: JsonObject, path: str) -> JsonObject:
    if block.get("type") not in THINKING_BLOCKS:
        raise refused(f"{path}.type", "must be `thinking` or `redacted_thinking`")
    return block


def _tool_use(call: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    if call.get("type", "function") != "function":
        raise unable(f"{path}.type", "must be `function` for this provider")
    function = object_at(call.get("function"), f"{path}.function")
    # A stream's chunks give calls an index, which clients may keep.
    ignored |= unheeded(call, {"id", "type", "function", "index"}, "messages.tool_calls")
    ignored |= unheeded(function, {"name", "arguments"}, "messages.tool_calls.function")
    return {
        "type": "tool_use",
        "id": name_at(call.get("id"), f"{path}.id"),
        "name": name_at(function.get("name"), f"{path}.function.name"),
        "input": _input(function.get("arguments"), f"{path}.function.arguments"),
    }


def _input(arguments: Json, param: str) -> JsonObject:
    if not arguments:
        return {}
    try:
        value = exact_loads(text_at(arguments, param))
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        # What a model wrote need not be JSON, and where it is relayed as a text that may stay so.
        raise unable(param, "must be a JSON object as a string for this provider")
    return value
