"""What a model says, from OpenAI's shape to the typed one: messages, deltas, log probabilities."""

import orjson

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import names
from ailb_server.api.messages.fields import further, members, objects, text, whole
from ailb_server.api.messages.structs import struct_if_any, struct_of
from ailb_server.domain.chat import Json, JsonObject

_SIMPLE = frozenset({"role", "content"})
_MESSAGE = _SIMPLE | {"name", "tool_calls", "tool_call_id", "refusal"}
_CALL = frozenset({"id", "index", "function"})
_TEXT_PART = frozenset({"type", "text"})
_IMAGE_PART = frozenset({"type", "image_url"})
_IMAGE = frozenset({"url", "detail"})
_BYTES = range(256)


def message_of(fields: JsonObject, role: pb.Role.ValueType) -> pb.Message:
    """A message or a delta. Members without a field are in `additional_fields`."""
    message = pb.Message(role=role, content=_content(fields.get("content")))
    if fields.keys() <= _SIMPLE:
        return message
    for name in ("name", "tool_call_id", "refusal"):
        value = fields.get(name)
        if isinstance(value, str):
            setattr(message, name, value)
    calls = objects(fields.get("tool_calls"))
    message.tool_calls.extend(_call(call, position) for position, call in enumerate(calls))
    if rest := further(fields, _MESSAGE):
        message.additional_fields.CopyFrom(struct_of(rest))
    return message


def role_of(fields: JsonObject) -> pb.Role.ValueType:
    """Who speaks: the assistant, if the answer does not say it or says it oddly."""
    return names.ROLES_BY_NAME.get(text(fields.get("role")), pb.ROLE_ASSISTANT)


def logprobs_of(logprobs: Json) -> list[pb.TokenLogprob]:
    """The log probabilities of the content's tokens."""
    return [_token(token) for token in objects(members(logprobs).get("content"))]


def _content(content: Json) -> list[pb.ContentPart]:
    # An empty text, which providers open streams with, says nothing.
    if isinstance(content, str):
        return [pb.ContentPart(text=content)] if content else []
    if isinstance(content, list):
        return [_part(part) for part in content if isinstance(part, dict)]
    return []


def _part(part: JsonObject) -> pb.ContentPart:
    if part.keys() == _TEXT_PART and part["type"] == "text" and isinstance(part["text"], str):
        return pb.ContentPart(text=part["text"])
    if part.keys() == _IMAGE_PART and part["type"] == "image_url":
        image = _image(members(part["image_url"]))
        if image is not None:
            return pb.ContentPart(image_url=image)
    return pb.ContentPart(other=struct_of(part))


def _image(image: JsonObject) -> pb.ImageUrl | None:
    """None for an image that the message cannot tell in full."""
    detail = names.DETAILS_BY_NAME.get(text(image.get("detail", "")))
    url = text(image.get("url"))
    if not url or not image.keys() <= _IMAGE or (detail is None and "detail" in image):
        return None
    return pb.ImageUrl(url=url, detail=detail or pb.IMAGE_DETAIL_UNSPECIFIED)


def _call(call: JsonObject, position: int) -> pb.ToolCall:
    """A call of another kind than a function's is in `additional_fields`, its `type` included."""
    function, rest = call.get("function"), further(call, _CALL)
    if isinstance(function, dict) or text(call.get("type")) in ("", "function"):
        rest.pop("type", None)
    told = pb.ToolCall(
        id=text(call.get("id")),
        index=whole(call.get("index", position)),
        additional_fields=struct_if_any(rest),
    )
    if isinstance(function, dict) or not rest:
        told.function.CopyFrom(_function(members(function)))
    return told


def _function(function: JsonObject) -> pb.FunctionCall:
    return pb.FunctionCall(
        name=text(function.get("name")), arguments=_arguments(function.get("arguments"))
    )


def _arguments(arguments: Json) -> str:
    """OpenAI writes them as JSON text; servers that write an object mean the same."""
    if not isinstance(arguments, dict):
        return text(arguments)
    try:
        return orjson.dumps(arguments).decode()
    except orjson.JSONEncodeError:
        # Nested deeper than orjson writes.
        return ""


def _token(token: JsonObject) -> pb.TokenLogprob:
    logprob = token.get("logprob")
    return pb.TokenLogprob(
        token=text(token.get("token")),
        logprob=logprob if isinstance(logprob, int | float) else 0.0,
        bytes=_bytes(token.get("bytes")),
        top_logprobs=[_token(other) for other in objects(token.get("top_logprobs"))],
    )


def _bytes(values: Json) -> bytes:
    if not isinstance(values, list) or not all(value in _BYTES for value in values):
        return b""
    return bytes(map(int, values))
