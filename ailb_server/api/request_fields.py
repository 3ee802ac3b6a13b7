"""What all of OpenAI's requests have in common: a JSON object, a model, fields of known types."""

from collections.abc import Mapping
from typing import TypeAlias

import orjson

from ailb_server.domain.chat import OWN_FIELDS, ChatRequest, Json, JsonObject, Operation
from ailb_server.domain.errors import InvalidRequestError

_MAX_MODEL_CHARACTERS = 256

# By name: what Python parses the field to, and how the type is called.
FieldTypes: TypeAlias = Mapping[str, tuple[tuple[type, ...], str]]

OWN_TYPES: FieldTypes = {
    "session_id": ((str,), "a string"),
    "rag_collection": ((str,), "a string"),
    "rag_top_k": ((int,), "an integer"),
    "rag_filter": ((dict,), "an object"),
    "rag_min_score": ((int, float), "a number"),
}


def request_of(
    body: bytes, known: FieldTypes, operation: Operation = Operation.CHAT
) -> ChatRequest:
    """A request of OpenAI's format; it streams only if `stream` is `known`.

    Raises InvalidRequestError, with the fact `param` where a field is at fault.
    """
    fields = object_of(body)
    model = model_of(fields)
    check_types(fields, known)
    options = fields.get("stream_options") if "stream_options" in known else None
    return ChatRequest(
        model=model,
        stream="stream" in known and bool(fields.get("stream")),
        include_usage=bool((options or {}).get("include_usage")),
        body=body,
        fields=fields,
        own_fields=OWN_FIELDS.intersection(fields),
        operation=operation,
    )


def object_of(body: bytes) -> JsonObject:
    """The body's object. Raises InvalidRequestError."""
    if not body.strip():
        raise InvalidRequestError("The request has no body. Send a JSON object.")
    try:
        fields: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is not valid JSON: {error.msg} (line {error.lineno}, column {error.colno})."
        ) from None
    if not isinstance(fields, dict):
        raise InvalidRequestError("The body must be a JSON object.")
    return fields


def model_of(fields: JsonObject) -> str:
    """The model asked for. Raises InvalidRequestError."""
    model = fields.get("model")
    if not isinstance(model, str) or not model:
        raise InvalidRequestError("`model` must be a string and is required.", param="model")
    if len(model) > _MAX_MODEL_CHARACTERS:
        raise InvalidRequestError(
            f"`model` is longer than {_MAX_MODEL_CHARACTERS} characters.", param="model"
        )
    return model


def check_types(fields: JsonObject, known: FieldTypes) -> None:
    """Raises InvalidRequestError for a field of another type; null is as good as absent."""
    for name, (types, wanted) in known.items():
        value = fields.get(name)
        if value is None:
            continue
        # bool is an int to Python, not to JSON.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InvalidRequestError(f"`{name}` must be {wanted}.", param=name)
