"""OpenAI's chat request, from bytes to a domain value. Pure."""

from collections.abc import Mapping

import orjson

from ailb_server.domain.chat import OWN_FIELDS, ChatRequest, Json, JsonObject
from ailb_server.domain.errors import InvalidRequestError

_MAX_MODEL_CHARACTERS = 256

# Parameters whose types all providers of the format share; others are the provider's to judge.
_TYPES: Mapping[str, tuple[tuple[type, ...], str]] = {
    "stream": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"),
    "n": ((int,), "an integer"),
    "max_tokens": ((int,), "an integer"),
    "max_completion_tokens": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "tools": ((list,), "an array"),
    "session_id": ((str,), "a string"),
    "rag_collection": ((str,), "a string"),
    "rag_top_k": ((int,), "an integer"),
    "rag_filter": ((dict,), "an object"),
    "rag_min_score": ((int, float), "a number"),
}


def parse_chat_request(body: bytes) -> ChatRequest:
    """Raises InvalidRequestError, with the fact `param` where a field is at fault."""
    fields = json_body(body)
    model = model_of(fields)
    check_types(fields)
    _check_messages(fields.get("messages"))
    options = fields.get("stream_options") or {}
    return ChatRequest(
        model=model,
        stream=bool(fields.get("stream")),
        include_usage=bool(options.get("include_usage")),
        body=body,
        fields=fields,
        own_fields=OWN_FIELDS.intersection(fields),
    )


def json_body(body: bytes) -> JsonObject:
    """A request's body. Raises InvalidRequestError if it is not a JSON object."""
    if not body.strip():
        raise InvalidRequestError("The request has no body. Send a JSON object.")
    try:
        fields: Json = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(
            f"The body is not valid JSON (line {error.lineno}, column {error.colno})."
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


def check_types(fields: JsonObject) -> None:
    """Raises InvalidRequestError for a parameter of a wrong type."""
    for name, (types, wanted) in _TYPES.items():
        value = fields.get(name)
        if value is None:
            continue
        # bool is an int to Python, not to JSON.
        if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
            raise InvalidRequestError(f"`{name}` must be {wanted}.", param=name)


def _check_messages(messages: Json) -> None:
    if not isinstance(messages, list) or not messages:
        raise InvalidRequestError(
            "`messages` must be a non-empty array and is required.", param="messages"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            raise InvalidRequestError("A message must be an object.", param=f"messages[{index}]")
        if not isinstance(message.get("role"), str):
            raise InvalidRequestError(
                "A message's `role` must be a string.", param=f"messages[{index}].role"
            )
        if not isinstance(message.get("content"), str | list | None):
            raise InvalidRequestError(
                "A message's `content` must be a string, an array or null.",
                param=f"messages[{index}].content",
            )
