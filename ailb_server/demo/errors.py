"""OpenAI's error object, and which status carries which type and code."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

INVALID: Final = "invalid_request_error"

# status: (type, code, message). The shapes are OpenAI's; 529 is Anthropic's "overloaded".
_BY_STATUS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: (INVALID, None, "The request was refused."),
    401: (INVALID, "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota."),
    403: ("permission_error", "permission_denied", "This key may not use this model."),
    404: (INVALID, "model_not_found", "The model does not exist."),
    408: ("timeout_error", "request_timeout", "The request timed out."),
    409: ("conflict_error", "conflict", "The resource is being changed by another request."),
    422: (INVALID, "unprocessable_entity", "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests."),
    500: ("server_error", None, "The server had an error while processing your request."),
    502: ("server_error", "bad_gateway", "Bad gateway."),
    503: ("server_error", "service_unavailable", "The engine is currently overloaded."),
    504: ("server_error", "gateway_timeout", "Gateway timeout."),
    529: ("overloaded_error", "overloaded", "Overloaded."),
}


class ApiError(Exception):
    """An answer that is an error: an HTTP status and OpenAI's `{"error": {...}}` body."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = INVALID,
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code

    def body(self) -> bytes:
        """The JSON body, indented by two as OpenAI sends its errors."""
        return orjson.dumps({"error": self._fields()}, option=orjson.OPT_INDENT_2)

    def event(self) -> bytes:
        """The same object on one line, as the payload of a server-sent event."""
        return orjson.dumps({"error": self._fields()})

    def _fields(self) -> dict[str, str | None]:
        return {
            "message": self.message,
            "type": self.kind,
            "param": self.param,
            "code": self.code,
        }


def error_for(status: int) -> ApiError:
    """The usual error of a status (400-599), its message labelled as the demo's."""
    fallback = (
        (INVALID, None, "Refused.")
        if status < HTTPStatus.INTERNAL_SERVER_ERROR
        else ("server_error", None, "Failed.")
    )
    kind, code, message = _BY_STATUS.get(status, fallback)
    return ApiError(status, f"[demo] {message}", kind=kind, code=code)


def missing(param: str) -> ApiError:
    """400: a required parameter is absent."""
    message = f"Missing required parameter: '{param}'."
    return ApiError(400, message, param=param, code="missing_required_parameter")


def wrong_type(param: str, expected: str, value: object) -> ApiError:
    """400: a parameter has the wrong JSON type. `expected` reads like "an integer"."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_name(value)} instead."
    return ApiError(400, message, param=param, code="invalid_type")


def unknown_model(model: str) -> ApiError:
    """404: no such model."""
    message = f"The model `{model}` does not exist or you do not have access to it."
    return ApiError(404, message, code="model_not_found")


def _name(value: object) -> str:
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        str: "a string",
        list: "an array",
    }
    return names.get(type(value), "an object")
