"""Tools, their choice and the answer's format in OpenAI's shape."""

from collections.abc import Mapping
from typing import TypeVar

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import names
from ailb_server.api.messages.structs import json_of
from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError

_Enum = TypeVar("_Enum", bound=int)


def enum_name(known: Mapping[_Enum, str], value: _Enum, param: str) -> str:
    """OpenAI's name of an enum's value. Raises InvalidRequestError for one that has none."""
    name = known.get(value)
    if name is None:
        raise InvalidRequestError(f"`{param}` is not set to a value that AILB knows.", param=param)
    return name


def required(text: str, param: str) -> str:
    """The text. Raises InvalidRequestError if it is empty."""
    if not text:
        raise InvalidRequestError(f"`{param}` is required.", param=param)
    return text


def tool_json(tool: pb.Tool, param: str) -> JsonObject:
    """An element of OpenAI's `tools`."""
    kind = tool.WhichOneof("tool")
    if kind == "other":
        return json_of(tool.other, param)
    if kind is None:
        raise InvalidRequestError(f"`{param}` holds no tool.", param=param)
    function, param = tool.function, f"{param}.function"
    fields: JsonObject = {"name": required(function.name, f"{param}.name")}
    if function.HasField("description"):
        fields["description"] = function.description
    if function.HasField("parameters"):
        fields["parameters"] = json_of(function.parameters, f"{param}.parameters")
    if function.HasField("strict"):
        fields["strict"] = function.strict
    return {"type": "function", "function": fields}


def tool_choice_json(choice: pb.ToolChoice) -> Json:
    """OpenAI's `tool_choice`; None for the provider's default."""
    if choice.WhichOneof("choice") == "function_name":
        name = required(choice.function_name, "tool_choice.function_name")
        return {"type": "function", "function": {"name": name}}
    if choice.mode == pb.TOOL_CHOICE_MODE_UNSPECIFIED:
        return None
    return enum_name(names.TOOL_CHOICES, choice.mode, "tool_choice.mode")


def response_format_json(response_format: pb.ResponseFormat) -> JsonObject | None:
    """OpenAI's `response_format`; None for the provider's default."""
    if response_format.WhichOneof("format") == "json_schema":
        return {
            "type": "json_schema",
            "json_schema": _json_schema(response_format.json_schema, "response_format.json_schema"),
        }
    if response_format.mode == pb.RESPONSE_FORMAT_MODE_UNSPECIFIED:
        return None
    return {"type": enum_name(names.FORMATS, response_format.mode, "response_format.mode")}


def _json_schema(json_schema: pb.JsonSchemaFormat, param: str) -> JsonObject:
    fields: JsonObject = {"name": required(json_schema.name, f"{param}.name")}
    if json_schema.HasField("description"):
        fields["description"] = json_schema.description
    if json_schema.HasField("schema"):
        fields["schema"] = json_of(json_schema.schema, f"{param}.schema")
    if json_schema.HasField("strict"):
        fields["strict"] = json_schema.strict
    return fields
