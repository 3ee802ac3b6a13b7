"""Errors as Anthropic's API writes them.

Source: anthropic 2.11 `types/shared/error_response.py`, `_client.py` (status to exception class).
"""

import json
from collections.abc import Mapping
from types import MappingProxyType

import orjson

from ailb_server.api import errors
from ailb_server.api.anthropic_wire_stream import sse
from ailb_server.domain.chat import Json
from ailb_server.domain.errors import (
    AilbError,
    Reason,
    UpstreamRejectedError,
    UpstreamUnavailableError,
)

_OVERLOADED = 529
_SERVER = "api_error"
# By status: the same error type always has the same exception class in the official SDK.
TYPES: Mapping[int, str] = MappingProxyType(
    {
        400: "invalid_request_error",
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        409: "invalid_request_error",
        413: "request_too_large",
        422: "invalid_request_error",
        429: "rate_limit_error",
        504: "timeout_error",
        _OVERLOADED: "overloaded_error",
    }
)


def http_status(error: AilbError) -> int:
    """The status on this face: OpenAI's, but AILB's own overload is Anthropic's 529."""
    return _OVERLOADED if error.reason is Reason.OVERLOADED else errors.http_status(error)


def error_body(error: AilbError, request_id: str) -> bytes:
    """The envelope; a provider's own if it refused the caller's request in this format."""
    if isinstance(error, UpstreamRejectedError) and _is_envelope(error.reply.body):
        return error.reply.body
    return _envelope(error, _message(error), request_id).encode()


def error_event(error: AilbError, request_id: str) -> bytes:
    """The last event of a stream whose status is spent; a provider's own if it sent one."""
    if isinstance(error, UpstreamUnavailableError) and error.event:
        return error.event
    return sse(orjson.loads(error_body(error, request_id)))


def rest_metadata(error: AilbError, request_id: str) -> list[tuple[str, str]]:
    """What lets Envoy render an error of a call that never reached its servicer."""
    message = errors.cut(str(error), errors.MAX_METADATA_MESSAGE)
    return [
        (errors.HTTP_STATUS_KEY, str(http_status(error))),
        (errors.ERROR_BODY_KEY, _envelope(error, message, request_id)),
    ]


def _message(error: AilbError) -> str:
    """With the words that tell callers of this API, which has no type for it, of a long prompt."""
    if error.reason is Reason.CONTEXT_LENGTH_EXCEEDED:
        return f"prompt is too long: {error}"
    return str(error)


def _envelope(error: AilbError, message: str, request_id: str) -> str:
    kind = TYPES.get(http_status(error), _SERVER)
    told = {"type": kind, "message": message}
    return json.dumps({"type": "error", "error": told, "request_id": request_id})


def _is_envelope(body: bytes) -> bool:
    try:
        told: Json = orjson.loads(body)
    except orjson.JSONDecodeError:
        return False
    return isinstance(told, dict) and told.get("type") == "error" and "error" in told
