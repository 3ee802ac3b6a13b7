"""OpenAI's tools as Ollama's `/api/chat` takes them: functions only, and no `tool_choice`. Pure."""

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.request_fields import unheeded
from ailb_server.providers.ollama_messages_wire import refused, unable

_FUNCTION = frozenset({"name", "description", "parameters"})


def chosen_tools(fields: JsonObject) -> tuple[list[JsonObject], set[str]]:
    """The tools to send, and the names of what is ignored about them.

    Ollama cannot be told to call a tool (docs/openai.md of ollama lists `tool_choice` as not
    supported), so that only the choices `auto` and `none` can be had.
    """
    tools = fields.get("tools") or []
    choice = fields.get("tool_choice", "auto")
    if not isinstance(choice, str | dict):
        raise refused("tool_choice", "`tool_choice` must be a string or an object.")
    if choice not in ("auto", "none"):
        raise unable("tool_choice", "The provider cannot be made to call a tool: use auto or none.")
    translated = [_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools)]
    if choice == "none":
        return [], set()
    ignored: set[str] = set()
    for tool in tools:
        ignored |= unheeded(tool, {"type", "function"}, "tools")
        ignored |= unheeded(tool["function"], _FUNCTION, "tools.function")
    return translated, ignored


def _tool(tool: Json, at: str) -> JsonObject:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        raise refused(f"{at}.type", "A tool must be an object with a `type`.")
    if tool["type"] != "function":
        raise unable(f"{at}.type", "The provider takes tools of type function only.")
    function = tool.get("function")
    if not isinstance(function, dict):
        raise refused(f"{at}.function", "`function` must be an object.")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise refused(f"{at}.function.name", "`name` must be a string and is required.")
    parameters = function.get("parameters")
    if parameters is None:
        parameters = {"type": "object", "properties": {}}
    elif not isinstance(parameters, dict):
        raise refused(f"{at}.function.parameters", "`parameters` must be an object.")
    described = {"description": text} if (text := function.get("description")) else {}
    return {"type": "function", "function": {"name": name, **described, "parameters": parameters}}
