"""Anthropic's `system` and `messages` as OpenAI's messages. Pure.

Source: anthropic 2.11 `types/message_param.py`, `types/tool_use_block_param.py`,
`types/tool_result_block_param.py`, `types/thinking_block_param.py`.
"""

from ailb_server.api.anthropic_wire_content import asks, blocks_of, compact, parts_of, text_part
from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.json_text import exact_dumps
from ailb_server.domain.request_fields import name_at, object_at, objects_at, refused, text_at

_THINKING = frozenset({"thinking", "redacted_thinking"})


def openai_messages(system: Json, messages: Json, ignored: set[str]) -> list[JsonObject]:
    """The whole conversation. What it asks for in vain is added to `ignored`.

    Raises InvalidRequestError.
    """
    written = _system(system, "system", ignored)
    turns = objects_at(messages, "messages")
    if not turns:
        raise refused("messages", "must be a non-empty array and is required")
    for message, path in turns:
        match message.get("role"):
            case "user":
                written += _user(message, path, ignored)
            case "assistant":
                written.append(_assistant(message, path, ignored))
            case "system":
                written += _system(message.get("content"), f"{path}.content", ignored)
            case _:
                raise refused(f"{path}.role", "must be `user`, `assistant` or `system`")
    return written


def _system(content: Json, path: str, ignored: set[str]) -> list[JsonObject]:
    parts: list[JsonObject] = []
    for block, at in blocks_of(content, path):
        _note_mark(block, ignored)
        parts += _only_text(block, at)
    return [{"role": "system", "content": compact(parts)}] if parts else []


def _only_text(block: JsonObject, path: str) -> list[JsonObject]:
    if block.get("type") != "text":
        raise refused(f"{path}.type", "must be `text`")
    return [text_part(text_at(block.get("text"), f"{path}.text"))]


def _note_mark(block: JsonObject, ignored: set[str]) -> None:
    if asks(block.get("cache_control")):
        ignored.add("cache_control")


def _user(message: JsonObject, path: str, ignored: set[str]) -> list[JsonObject]:
    """The tool results, each a message of its own, and then what the user says."""
    results: list[JsonObject] = []
    said: list[JsonObject] = []
    for block, at in blocks_of(_content(message, path), f"{path}.content"):
        if block.get("type") == "tool_result":
            result, pictures = _result(block, at, ignored)
            results.append(result)
            said += pictures
        else:
            said += parts_of(block, at, ignored)
    return [*results, {"role": "user", "content": compact(said)}] if said else results


def _result(block: JsonObject, path: str, ignored: set[str]) -> tuple[JsonObject, list[JsonObject]]:
    """The tool's message, and what it may not hold: that goes to the user's message behind it."""
    call = name_at(block.get("tool_use_id"), f"{path}.tool_use_id")
    _note_mark(block, ignored)
    parts = [
        part
        for inner, at in blocks_of(block.get("content"), f"{path}.content")
        for part in parts_of(inner, at, ignored)
    ]
    texts = [part["text"] for part in parts if part["type"] == "text"]
    others = [part for part in parts if part["type"] != "text"]
    if block.get("is_error") is True:
        texts.insert(0, "Error:")
    if others:
        others.insert(0, text_part(f"Attached to the result of the tool call {call}:"))
    return {"role": "tool", "tool_call_id": call, "content": "\n".join(texts)}, others


def _assistant(message: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    texts: list[JsonObject] = []
    calls: list[JsonObject] = []
    thoughts: list[JsonObject] = []
    for block, at in blocks_of(_content(message, path), f"{path}.content"):
        kind = block.get("type")
        if kind == "tool_use":
            _note_mark(block, ignored)
            calls.append(_tool_call(block, at))
        elif kind in _THINKING:
            thoughts.append(block)
        elif kind == "text":
            texts += parts_of(block, at, ignored)
        else:
            raise refused(f"{at}.type", "is a kind of content that only an Anthropic provider has")
    written: JsonObject = {"role": "assistant", "content": compact(texts) or None}
    if thoughts:
        written["thinking_blocks"] = thoughts
    if calls:
        written["tool_calls"] = calls
    return written


def _tool_call(block: JsonObject, path: str) -> JsonObject:
    arguments = object_at(block.get("input"), f"{path}.input")
    function = {
        "name": name_at(block.get("name"), f"{path}.name"),
        "arguments": exact_dumps(arguments).decode(),
    }
    call = name_at(block.get("id"), f"{path}.id")
    return {"id": call, "type": "function", "function": function}


def _content(message: JsonObject, path: str) -> Json:
    content = message.get("content")
    if not isinstance(content, str | list):
        raise refused(f"{path}.content", "must be a string or an array and is required")
    return content
