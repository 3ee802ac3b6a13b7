"""What a provider's error status means: whose fault it is. By status, never by text."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import orjson

from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
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


MAX_RETRY_AFTER_S = 30 * 24 * 3600.0


def status_error(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamError:
    """The error for an HTTP status other than 2xx. A 3xx is the operator's wrong base URL."""
    retry_after = retry_after_s(headers)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return UpstreamRateLimitedError(
            "The provider's rate limit is reached.", retry_after_s=retry_after, provider=provider
        )
    if status in _CREDENTIAL or status < HTTPStatus.BAD_REQUEST:
        return UpstreamMisconfiguredError(
            f"The provider refuses AILB's credential or address (status {status}).",
            provider=provider,
        )
    if status in _TIMEOUT:
        return UpstreamTimeoutError("The provider timed out.", provider=provider)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return UpstreamUnavailableError(
            f"The provider failed with status {status}.",
            retry_after_s=retry_after,
            provider=provider,
        )
    return _rejected(provider, status, headers, body)


def _rejected(
    provider: str, status: int, headers: Mapping[str, str], body: bytes
) -> UpstreamRejectedError:
    reply = UpstreamReply(status, headers.get("content-type", "application/json"), body)
    message = f"The provider rejects the request with status {status}."
    try:
        error = orjson.loads(body)["error"]
        message = str(error["message"])[:1000]
    except (orjson.JSONDecodeError, KeyError, TypeError, IndexError):
        # Not OpenAI's shape, so not fit to relay: the caller gets ours, with the status.
        reply = UpstreamReply(status, "", b"")
    return UpstreamRejectedError(message, reply, provider=provider)


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
