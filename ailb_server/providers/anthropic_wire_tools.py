"""OpenAI's tools and the choice among them as Anthropic's. Pure.

Source: anthropic 2.11 `types/tool_param.py`, `types/tool_choice_*_param.py`.
"""

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import (
    name_at,
    object_at,
    objects_at,
    refused,
    text_at,
    unable,
    unheeded,
)
from ailb_server.providers.anthropic_wire_schema import enforceable

_MODES = {"none": "none", "auto": "auto", "required": "any"}
_FORCED = frozenset({"any", "tool"})
_FUNCTION = frozenset({"name", "description", "parameters", "strict"})


def tools_and_choice(
    tools: Json, choice: Json, *, parallel: bool, ignored: set[str]
) -> tuple[list[JsonObject], JsonObject | None]:
    """`tools` and `tool_choice`; a choice of None is the API's default. Raises InvalidRequestError.

    `allowed_tools` keeps only the tools allowed, because the API has no such choice. What else is
    said of a tool or of the choice is added to `ignored`.
    """
    found = [_tool(tool, path, ignored) for tool, path in objects_at(tools, "tools")]
    if isinstance(choice, dict):
        ignored |= _unheeded_choice(choice)
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        allowed = object_at(choice.get("allowed_tools"), "tool_choice.allowed_tools")
        found = _allowed(found, allowed)
        choice = allowed.get("mode", "auto")
    written = _choice(choice)
    if not found:
        if is_forced(written):
            raise refused("tool_choice", "needs `tools`")
        return [], None
    if not parallel and written["type"] != "none":
        written["disable_parallel_tool_use"] = True
    return found, None if written == {"type": "auto"} else written


def is_forced(choice: JsonObject | None) -> bool:
    """Whether the model must call a tool, which the API does not let it think about."""
    return choice is not None and choice["type"] in _FORCED


def _tool(tool: JsonObject, path: str, ignored: set[str]) -> JsonObject:
    if text_at(tool.get("type"), f"{path}.type") != "function":
        raise unable(f"{path}.type", "must be `function` for this provider")
    function = object_at(tool.get("function"), f"{path}.function")
    ignored |= unheeded(tool, {"type", "function", "cache_control"}, "tools")
    ignored |= unheeded(function, _FUNCTION, "tools.function")
    strict = function.get("strict") is True
    written: JsonObject = {"name": name_at(function.get("name"), f"{path}.function.name")}
    if function.get("description"):
        written["description"] = function["description"]
    parameters = object_at(function.get("parameters") or {}, f"{path}.function.parameters")
    written["input_schema"] = _input_schema(parameters, strict=strict)
    if strict:
        written["strict"] = True
    if tool.get("cache_control") is not None:
        written["cache_control"] = tool["cache_control"]
    return written


def _input_schema(parameters: JsonObject, *, strict: bool) -> Json:
    schema = parameters if parameters.get("type") else {**parameters, "type": "object"}
    if not parameters:
        schema["properties"] = {}
    return enforceable(schema) if strict else schema


def _choice(choice: Json) -> JsonObject:
    if choice is None:
        return {"type": "auto"}
    if isinstance(choice, str) and choice in _MODES:
        return {"type": _MODES[choice]}
    if isinstance(choice, dict) and choice.get("type") == "function":
        function = object_at(choice.get("function"), "tool_choice.function")
        return {"type": "tool", "name": name_at(function.get("name"), "tool_choice.function.name")}
    if not isinstance(choice, str | dict):
        raise refused("tool_choice", "must be a string or an object")
    raise unable("tool_choice", "is not a choice that this provider knows")


def _unheeded_choice(choice: JsonObject) -> set[str]:
    inner = "allowed_tools" if choice.get("type") == "allowed_tools" else "function"
    known = {"mode", "tools"} if inner == "allowed_tools" else {"name"}
    named = choice.get(inner)
    found = unheeded(choice, {"type", inner}, "tool_choice")
    if isinstance(named, dict):
        found |= unheeded(named, known, f"tool_choice.{inner}")
    return found


def _allowed(found: list[JsonObject], allowed: JsonObject) -> list[JsonObject]:
    names = set()
    for tool, path in objects_at(allowed.get("tools"), "tool_choice.allowed_tools.tools"):
        function = object_at(tool.get("function"), f"{path}.function")
        names.add(name_at(function.get("name"), f"{path}.function.name"))
    return [tool for tool in found if tool["name"] in names]
