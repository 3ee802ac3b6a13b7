"""Anthropic's tools and the choice among them as OpenAI's. Pure.

Source: anthropic 2.11 `types/tool_param.py`, `types/tool_choice_*_param.py`.
"""

from ailb_server.api.anthropic_wire_content import asks
from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import name_at, object_at, objects_at, refused, text_at

_MODES = {"auto": "auto", "any": "required", "none": "none"}
_KNOWN = frozenset({"type", "name", "description", "input_schema", "strict"})


def openai_tools(tools: Json, choice: Json, ignored: set[str]) -> JsonObject:
    """`tools`, `tool_choice` and `parallel_tool_calls`, as far as they are asked for.

    Raises InvalidRequestError for tools that Anthropic would run itself.
    """
    found = [_tool(tool, path, ignored) for tool, path in objects_at(tools, "tools")]
    if not found:
        return {}
    fields: JsonObject = {"tools": found}
    if choice is not None:
        wanted = object_at(choice, "tool_choice")
        fields["tool_choice"] = _choice(wanted)
        if wanted.get("disable_parallel_tool_use") is True:
            fields["parallel_tool_calls"] = False
    return fields


def _tool(tool: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    if tool.get("type") not in (None, "custom"):
        raise refused(f"{path}.type", "is a tool that only an Anthropic provider has")
    ignored.update(
        "cache_control" if name == "cache_control" else f"tools.{name}"
        for name, value in tool.items()
        if name not in _KNOWN and asks(value)
    )
    function: JsonObject = {"name": name_at(tool.get("name"), f"{path}.name")}
    if tool.get("description") is not None:
        function["description"] = text_at(tool["description"], f"{path}.description")
    function["parameters"] = object_at(tool.get("input_schema"), f"{path}.input_schema")
    if tool.get("strict") is True:
        function["strict"] = True
    return {"type": "function", "function": function}


def _choice(choice: JsonObject) -> Json:
    kind = choice.get("type")
    if kind == "tool":
        name = name_at(choice.get("name"), "tool_choice.name")
        return {"type": "function", "function": {"name": name}}
    if not isinstance(kind, str) or kind not in _MODES:
        raise refused("tool_choice.type", "must be `auto`, `any`, `tool` or `none`")
    return _MODES[kind]
