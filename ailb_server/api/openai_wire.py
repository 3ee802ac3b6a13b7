"""OpenAI's chat request, from bytes to a domain value. Pure."""

from ailb_server.api.request_fields import OWN_TYPES, FieldTypes, request_of
from ailb_server.domain.chat import ChatRequest, Json
from ailb_server.domain.errors import InvalidRequestError

# Parameters whose types all providers of the format share; others are the provider's to judge.
CHAT_TYPES: FieldTypes = {
    "stream": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"),
    "n": ((int,), "an integer"),
    "max_tokens": ((int,), "an integer"),
    "max_completion_tokens": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "tools": ((list,), "an array"),
    **OWN_TYPES,
}


def parse_chat_request(body: bytes) -> ChatRequest:
    """Raises InvalidRequestError, with the fact `param` where a field is at fault."""
    request = request_of(body, CHAT_TYPES)
    _check_messages(request.fields.get("messages"))
    return request


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
