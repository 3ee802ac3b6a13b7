"""OpenAI's older completion request, from bytes to a domain value. Pure."""

from ailb_server.api.request_fields import OWN_TYPES, FieldTypes, request_of
from ailb_server.domain.chat import ChatRequest, Operation

_TYPES: FieldTypes = {
    # Without one the model begins a document of its own, so it is not required.
    "prompt": ((str, list), "a string or an array"),
    "stream": ((bool,), "a boolean"),
    "stream_options": ((dict,), "an object"),
    "temperature": ((int, float), "a number"),
    "top_p": ((int, float), "a number"),
    "n": ((int,), "an integer"),
    "best_of": ((int,), "an integer"),
    "max_tokens": ((int,), "an integer"),
    "stop": ((str, list), "a string or an array"),
    "suffix": ((str,), "a string"),
    "echo": ((bool,), "a boolean"),
    **OWN_TYPES,
}


def parse_completion_request(body: bytes) -> ChatRequest:
    """Raises InvalidRequestError, with the fact `param` where a field is at fault."""
    return request_of(body, _TYPES, Operation.COMPLETION)
