"""What a provider's error status means: whose fault it is. By status and code, never by text."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import orjson

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.errors import (
    UpstreamContextLengthError,
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamModelMissingError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)

# 402: the account that AILB pays with is empty, which is as much the operator's to mend as a key.
_CREDENTIAL = frozenset(
    {HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.FORBIDDEN}
)
# 408: the provider gave up waiting for itself or for us; 504: a proxy before it did.
_TIMEOUT = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.GATEWAY_TIMEOUT})
# The `code` of OpenAI's API, and the `type` of llama.cpp's server (ggml-org/llama.cpp#15780), for a
# prompt that is longer than the model's context.
CONTEXT_LENGTH_CODE = "context_length_exceeded"
_CONTEXT_LENGTH = frozenset({CONTEXT_LENGTH_CODE, "exceed_context_size_error"})
# With a 404, of OpenAI's API (and what is made of Ollama's), of Anthropic's, and of vLLM's server.
_MISSING = frozenset({"model_not_found", "not_found_error", "NotFoundError"})
MAX_WORDS = 1000
_MAX_FAULTS = 10

MAX_RETRY_AFTER_S = 30 * 24 * 3600.0


def status_error(
    provider: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    too_long: bool = False,
) -> UpstreamError:
    """The error for an HTTP status other than 2xx. A 3xx is the operator's wrong base URL.

    `too_long`: the body says in a way of its own that the prompt is longer than the context.
    """
    retry_after = retry_after_s(headers)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamRateLimitedError(
            "The provider's rate limit is reached.", retry_after_s=retry_after, provider=provider
        )
    if status in _CREDENTIAL or status < HTTPStatus.BAD_REQUEST:
        refused = UpstreamMisconfiguredError(
            f"The provider refuses AILB's credential or address (status {status}).",
            provider=provider,
        )
        refused.forbids = status == HTTPStatus.FORBIDDEN
        return refused
    if status in _TIMEOUT:
        return UpstreamTimeoutError("The provider timed out.", provider=provider)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UpstreamUnavailableError(
            f"The provider failed with status {status}.",
            retry_after_s=retry_after,
            provider=provider,
        )
    content_type = headers.get("content-type", "application/json")
    return _rejected(provider, UpstreamReply(status, content_type, body), too_long=too_long)


def _rejected(provider: str, reply: UpstreamReply, *, too_long: bool) -> UpstreamRejectedError:
    told = _told(reply.body)
    error = told.get("error")
    if not isinstance(error, dict) or "message" not in error:
        # Not OpenAI's shape, so not fit to relay: the caller gets ours, with the status.
        reply, error = UpstreamReply(reply.status, "", b""), told
    default = f"The provider rejects the request with status {reply.status}."
    message = (_words(error) or default)[:MAX_WORDS]
    names = {name for name in (error.get("code"), error.get("type")) if isinstance(name, str)}
    if reply.status == HTTPStatus.BAD_REQUEST and (too_long or names & _CONTEXT_LENGTH):
        return UpstreamContextLengthError(message, reply, provider=provider)
    if reply.status == HTTPStatus.NOT_FOUND and names & _MISSING:
        return UpstreamModelMissingError(message, reply, provider=provider)
    return UpstreamRejectedError(message, reply, provider=provider)


def _told(body: bytes) -> JsonObject:
    try:
        told = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def _words(error: JsonObject) -> str:
    """The explanation: OpenAI's and older vLLM's `message`, a bare `error`, or FastAPI's `detail`,
    which may be a list of faults with a place each."""
    for name in ("message", "error", "detail"):
        words = error.get(name)
        if isinstance(words, str) and words:
            return words
        if name == "detail" and isinstance(words, list):
            return "; ".join(_fault(one) for one in words[:_MAX_FAULTS] if isinstance(one, dict))
    return ""


def _fault(one: JsonObject) -> str:
    place = one.get("loc")
    path = ".".join(str(step) for step in place) if isinstance(place, list) else ""
    return f"{path}: {one.get('msg')}" if path else str(one.get("msg"))


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds by `retry-after-ms` or `retry-after` (seconds or an HTTP date), RFC 9110 10.2.3.

    None if absent or unreadable; at most MAX_RETRY_AFTER_S.
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            return _bounded(float(headers.get(name, "")) * unit)
        except ValueError:
            continue
    try:
        when = parsedate_to_datetime(headers.get("retry-after", ""))
        return _bounded(when.timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return None


def _bounded(seconds: float) -> float | None:
    return None if math.isnan(seconds) else max(0.0, min(seconds, MAX_RETRY_AFTER_S))
