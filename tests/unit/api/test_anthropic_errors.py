"""Every reason in Anthropic's envelope, as the official client's classes know it."""

from typing import Any

import anthropic
import httpx2
import orjson
import pytest

from ailb_server.api import anthropic_errors, errors
from ailb_server.domain import errors as domain
from ailb_server.domain.errors import AilbError, Reason, UpstreamRejectedError, UpstreamReply

_CLASSES: dict[Reason, tuple[int, str, str]] = {
    Reason.INVALID_API_KEY: (401, "authentication_error", "AuthenticationError"),
    Reason.PERMISSION_DENIED: (403, "permission_error", "PermissionDeniedError"),
    Reason.INVALID_REQUEST: (400, "invalid_request_error", "BadRequestError"),
    Reason.CONTEXT_LENGTH_EXCEEDED: (400, "invalid_request_error", "BadRequestError"),
    Reason.MODEL_NOT_FOUND: (404, "not_found_error", "NotFoundError"),
    Reason.RATE_LIMIT_EXCEEDED: (429, "rate_limit_error", "RateLimitError"),
    Reason.BUDGET_EXCEEDED: (402, "billing_error", "PaymentRequiredError"),
    Reason.UPSTREAM_RATE_LIMITED: (429, "rate_limit_error", "RateLimitError"),
    Reason.UPSTREAM_MISCONFIGURED: (502, "api_error", "InternalServerError"),
    Reason.UPSTREAM_UNAVAILABLE: (503, "api_error", "ServiceUnavailableError"),
    Reason.UPSTREAM_TIMEOUT: (504, "timeout_error", "GatewayTimeoutError"),
    Reason.STORAGE_UNAVAILABLE: (503, "api_error", "ServiceUnavailableError"),
    Reason.OVERLOADED: (529, "overloaded_error", "OverloadedError"),
    Reason.INTERNAL_ERROR: (500, "api_error", "InternalServerError"),
}


def _all() -> list[type[AilbError]]:
    found = [AilbError]
    for kind in found:
        found += kind.__subclasses__()
    ours = {kind: None for kind in found if kind.__module__ == domain.__name__}
    told = [kind for kind in ours if getattr(kind, "reason", None) in _CLASSES]
    # A provider's own words need its answer: below.
    return [kind for kind in told if not issubclass(kind, UpstreamRejectedError)]


def _raised(status: int, body: bytes) -> anthropic.APIStatusError:
    client = anthropic.Anthropic(api_key="x", max_retries=0)
    request = httpx2.Request("POST", "http://localhost/v1/messages")
    response = httpx2.Response(status, content=body, request=request)
    return client._make_status_error_from_response(response)


@pytest.mark.parametrize("kind", _all(), ids=lambda kind: kind.__name__)
def test_the_official_client_knows_each_error(kind: type[AilbError]) -> None:
    error = kind("It failed.")
    body = anthropic_errors.error_body(error, "r-1")
    status = anthropic_errors.http_status(error)
    raised = _raised(status, body)
    found = (status, orjson.loads(body)["error"]["type"], type(raised).__name__)
    assert found == _CLASSES[kind.reason]
    assert "It failed." in raised.message
    assert orjson.loads(body)["request_id"] == "r-1"


def _rejected(body: bytes, status: int = 413) -> UpstreamRejectedError:
    reply = UpstreamReply(status, "application/json", body)
    return UpstreamRejectedError("too large", reply, provider="p")


def test_a_providers_own_envelope_is_relayed() -> None:
    own = b'{"type":"error",  "error":{"type":"request_too_large","message":"x"}}'
    assert anthropic_errors.error_body(_rejected(own), "r") == own


@pytest.mark.parametrize("body", [b"", b"[]", b'{"error":{"message":"too large"}}'])
def test_a_refusal_of_another_format_is_translated(body: bytes) -> None:
    told: Any = orjson.loads(anthropic_errors.error_body(_rejected(body), "r"))
    assert told["error"] == {"type": "request_too_large", "message": "too large"}
    assert anthropic_errors.http_status(_rejected(body)) == 413


def test_a_prompt_too_long_is_told_as_anthropic_tells_it() -> None:
    """Callers of this face know it by that message: the API has no type for it."""
    body = b'{"error":{"message":"Max is 9.","code":"context_length_exceeded"}}'
    reply = UpstreamReply(400, "application/json", body)
    by_provider = domain.UpstreamContextLengthError("Max is 9.", reply, provider="p")
    for error in (by_provider, domain.ContextLengthExceededError("Max is 9.")):
        told: Any = orjson.loads(anthropic_errors.error_body(error, "r"))
        wanted = {"type": "invalid_request_error", "message": "prompt is too long: Max is 9."}
        assert told["error"] == wanted
        assert anthropic_errors.http_status(error) == 400


def test_metadata_holds_what_fits() -> None:
    error = domain.InvalidRequestError("é" * 5000)
    told = dict(anthropic_errors.rest_metadata(error, "r"))
    assert told[errors.HTTP_STATUS_KEY] == "400"
    assert len(told[errors.ERROR_BODY_KEY]) < 4096
