"""A conversation in OpenAI's shape as Ollama's `/api/chat` takes it. Pure.

Shapes: `Message`, `ToolCall`, `ToolCallFunction` in ollama's api/types.go: one string of content,
images as bare base64, a call's arguments as an object, a result with its tool's name.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

import orjson

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError, UntranslatableError
from ailb_server.domain.json_text import exact_loads
from ailb_server.domain.request_fields import unheeded

_ROLES: Mapping[str, str] = {
    "developer": "system",
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
}
_MESSAGE = frozenset({"role", "content", "tool_calls", "tool_call_id"})
_ASSISTANT = _MESSAGE | {"reasoning_content", "reasoning", "refusal"}
_PARTS: Mapping[str, str] = {"text": "text", "refusal": "refusal"}
_PART = frozenset({"type", "text", "refusal", "image_url"})
# They say something, so that leaving them out would change the answer.
_NOT_TAKEN = ("audio", "function_call")


@dataclass(slots=True)
class Conversation:
    """The translated messages. `ignored` names members that Ollama has no place for."""

    messages: list[JsonObject] = field(default_factory=list)
    image_bytes: int = 0
    ignored: set[str] = field(default_factory=set)

    def ignore(self, members: JsonObject, known: Set[str], where: str) -> None:
        """Notes the members that say something and are not `known`."""
        self.ignored |= unheeded(members, known, where)


def translate(messages: list[JsonObject]) -> Conversation:
    """Raises InvalidRequestError whose `param` is the path of what Ollama cannot take."""
    conversation = Conversation()
    tools: dict[str, str] = {}
    for index, message in enumerate(messages):
        at = f"messages[{index}]"
        role = _ROLES.get(message["role"])
        if role is None:
            raise unable(f"{at}.role", "The provider takes no such role.")
        turn: JsonObject = {"role": role, **_content(message, at, conversation)}
        known = _MESSAGE
        if role == "assistant":
            known = _ASSISTANT
            turn.update(_assistant(message, at, tools, conversation))
        elif role == "tool":
            known = _MESSAGE | {"name"}
            turn.update(_result(message, at, tools))
        conversation.ignore(message, known, "messages")
        conversation.messages.append(turn)
    return conversation


def refused(param: str, message: str) -> InvalidRequestError:
    """The error for what is wrong wherever it goes."""
    return InvalidRequestError(message, param=param)


def unable(param: str, message: str) -> UntranslatableError:
    """The error for what Ollama cannot do, and another provider may."""
    return UntranslatableError(message, param=param)


def _content(message: JsonObject, at: str, conversation: Conversation) -> JsonObject:
    content = message.get("content")
    refusal = message.get("refusal") if message["role"] == "assistant" else None
    refusals = [refusal] if isinstance(refusal, str) and refusal else []
    if content is None and message["role"] != "assistant":
        raise refused(f"{at}.content", "`content` must be a string or an array.")
    if content is None or isinstance(content, str):
        return {"content": "\n".join([*([content] if content else []), *refusals])}
    texts: list[str] = []
    images: list[str] = []
    for index, part in enumerate(content):
        _add_part(part, f"{at}.content[{index}]", texts, images)
        conversation.ignore(part, _PART, "messages.content")
        if isinstance(image := part.get("image_url"), dict):
            known = {"url", "detail"} if image.get("detail") == "auto" else {"url"}
            conversation.ignore(image, known, "messages.content.image_url")
    conversation.image_bytes += sum(map(len, images))
    # Lines, because parts are not one text: run together, their words would be too.
    joined: JsonObject = {"content": "\n".join([*texts, *refusals])}
    return {**joined, "images": images} if images else joined


def _add_part(part: Json, at: str, texts: list[str], images: list[str]) -> None:
    if not isinstance(part, dict):
        raise refused(at, "A content part must be an object.")
    kind = part.get("type")
    if kind == "image_url":
        images.append(_image(part.get("image_url"), f"{at}.image_url"))
    elif kind in ("input_audio", "file"):
        raise unable(f"{at}.{kind}", "The provider takes texts and images only.")
    elif not isinstance(kind, str):
        raise refused(f"{at}.type", "`type` must be a string.")
    elif kind not in _PARTS:
        raise unable(f"{at}.type", "The provider takes parts of type text and image_url only.")
    elif not isinstance(part.get(kind), str):
        raise refused(f"{at}.{kind}", f"`{kind}` must be a string.")
    else:
        texts.append(part[kind])


def _image(image: Json, at: str) -> str:
    """The base64 of a data URL, which is not decoded here."""
    url = image.get("url") if isinstance(image, dict) else image
    if not isinstance(url, str):
        raise refused(at, "`image_url.url` must be a string.")
    if not url[:5].lower() == "data:":
        raise unable(at, "The provider fetches no images: send a base64 data: URL.")
    head, comma, data = url.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise refused(at, "The image's data: URL must be base64.")
    return data


def _assistant(
    message: JsonObject, at: str, tools: dict[str, str], conversation: Conversation
) -> JsonObject:
    for name in _NOT_TAKEN:
        if message.get(name) is not None:
            raise unable(f"{at}.{name}", f"The provider does not take `{name}`.")
    turn: JsonObject = {}
    thinking = message.get("reasoning_content") or message.get("reasoning")
    if isinstance(thinking, str) and thinking:
        turn["thinking"] = thinking
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise refused(f"{at}.tool_calls", "`tool_calls` must be an array.")
    if calls:
        turn["tool_calls"] = [
            _call(call, index, f"{at}.tool_calls[{index}]", tools)
            for index, call in enumerate(calls)
        ]
        for call in calls:
            where = "messages.tool_calls"
            conversation.ignore(call, {"id", "type", "function", "index"}, where)
            conversation.ignore(call["function"], {"name", "arguments"}, f"{where}.function")
    return turn


def _call(call: Json, index: int, at: str, tools: dict[str, str]) -> JsonObject:
    if not isinstance(call, dict):
        raise refused(at, "A call must be an object.")
    if call.get("type", "function") != "function":
        raise unable(f"{at}.type", "The provider takes calls of functions only.")
    function = call.get("function")
    if not isinstance(function, dict):
        raise refused(f"{at}.function", "`function` must be an object.")
    name = function.get("name")
    if not isinstance(name, str) or not name:
        raise refused(f"{at}.function.name", "`name` must be a string and is required.")
    arguments = _arguments(function.get("arguments"), f"{at}.function.arguments")
    turn: JsonObject = {"function": {"index": index, "name": name, "arguments": arguments}}
    identity = call.get("id")
    if isinstance(identity, str) and identity:
        tools[identity] = name
        turn = {"id": identity, **turn}
    return turn


def _arguments(arguments: Json, at: str) -> JsonObject:
    # Models call functions without parameters with an empty text.
    if arguments is None or arguments == "":
        return {}
    try:
        value = exact_loads(arguments) if isinstance(arguments, str) else arguments
    except orjson.JSONDecodeError:
        # What a model wrote need not be JSON, and where it is relayed as a text that may stay so.
        raise unable(at, "The provider takes `arguments` of valid JSON only.") from None
    if not isinstance(value, dict):
        raise unable(at, "The provider takes `arguments` that are a JSON object only.")
    return value


def _result(message: JsonObject, at: str, tools: Mapping[str, str]) -> JsonObject:
    identity = message.get("tool_call_id")
    if not isinstance(identity, str):
        raise refused(f"{at}.tool_call_id", "`tool_call_id` must be a string and is required.")
    name = tools.get(identity) or message.get("name")
    named = {"tool_name": name} if isinstance(name, str) and name else {}
    return {**named, "tool_call_id": identity}
