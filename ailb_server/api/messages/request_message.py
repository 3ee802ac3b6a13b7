"""One turn of a typed conversation in OpenAI's shape."""

from collections.abc import Sequence

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import names
from ailb_server.api.messages.request_tools import enum_name, required
from ailb_server.api.messages.structs import json_of
from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError

# What says something in an assistant's turn without content: OpenAI writes that content as null.
_INSTEAD_OF_CONTENT = ("tool_calls", "function_call", "audio")


def message_json(message: pb.Message, param: str) -> JsonObject:
    """An element of OpenAI's `messages`."""
    fields: JsonObject = {"role": enum_name(names.ROLES, message.role, f"{param}.role")}
    fields["content"] = _content(message.content, f"{param}.content")
    _add_texts(fields, message)
    if message.tool_calls:
        fields["tool_calls"] = [
            _tool_call(call, f"{param}.tool_calls[{index}]")
            for index, call in enumerate(message.tool_calls)
        ]
    _add_further(fields, message, param)
    if fields["content"] is None and not (
        message.role == pb.ROLE_ASSISTANT and any(name in fields for name in _INSTEAD_OF_CONTENT)
    ):
        fields["content"] = ""
    return fields


def _add_texts(fields: JsonObject, message: pb.Message) -> None:
    if message.HasField("name"):
        fields["name"] = message.name
    if message.HasField("tool_call_id"):
        fields["tool_call_id"] = message.tool_call_id
    if message.HasField("refusal"):
        fields["refusal"] = message.refusal


def _content(parts: Sequence[pb.ContentPart], param: str) -> Json:
    if not parts:
        return None
    if len(parts) == 1 and parts[0].WhichOneof("part") == "text":
        return parts[0].text
    return [_part(part, f"{param}[{index}]") for index, part in enumerate(parts)]


def _part(part: pb.ContentPart, param: str) -> JsonObject:
    kind = part.WhichOneof("part")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "image_url":
        return {"type": "image_url", "image_url": _image(part.image_url, f"{param}.image_url")}
    if kind == "other":
        return json_of(part.other, param)
    raise InvalidRequestError(f"`{param}` holds no part.", param=param)


def _image(image: pb.ImageUrl, param: str) -> JsonObject:
    fields: JsonObject = {"url": required(image.url, f"{param}.url")}
    if image.detail:
        fields["detail"] = enum_name(names.DETAILS, image.detail, f"{param}.detail")
    return fields


def _tool_call(call: pb.ToolCall, param: str) -> JsonObject:
    """With its further fields: a provider may refuse the next turn without them, as Gemini does
    without its thought signatures."""
    fields: JsonObject = {"id": call.id}
    if call.HasField("function") or not call.additional_fields.fields:
        name = required(call.function.name, f"{param}.function.name")
        fields["type"] = "function"
        fields["function"] = {"name": name, "arguments": call.function.arguments}
    _add_further(fields, call, param)
    return fields


def _add_further(fields: JsonObject, message: pb.Message | pb.ToolCall, param: str) -> None:
    additional = json_of(message.additional_fields, f"{param}.additional_fields")
    for name in additional:
        if name in fields or name in message.DESCRIPTOR.fields_by_name:
            raise InvalidRequestError(
                f"`{name}` has a place of its own, so `additional_fields` may not hold it.",
                param=f"{param}.{name}",
            )
    fields.update(additional)
