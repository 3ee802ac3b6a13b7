"""The error table: what each reason is on gRPC and on REST."""

import json
import logging
import math
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from google.protobuf import any_pb2, duration_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc import StatusCode

from ailb_server.domain.errors import (
    AilbError,
    InternalError,
    RateLimitExceededError,
    Reason,
    UpstreamRejectedError,
)

DOMAIN = "ailb"
# Metadata that Envoy's Lua filter turns into the status and the body of a REST error.
HTTP_STATUS_KEY = "x-http-status"
ERROR_BODY_KEY = "x-ailb-error"
# Clients of gRPC accept 8 KiB of metadata by default, beyond that they see another error. A message
# is in it up to three times: percent-encoded, within the details, within the REST body.
MAX_METADATA_MESSAGE = 1500
MAX_METADATA_FACT = 256

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Row:
    """A reason's gRPC code, HTTP status, and OpenAI's `type` and `code`."""

    grpc: StatusCode
    http: int
    type: str
    code: str | None


_CALLER = "invalid_request_error"
_SERVER = "server_error"

TABLE: Mapping[Reason, Row] = MappingProxyType(
    {
        Reason.INVALID_API_KEY: Row(StatusCode.UNAUTHENTICATED, 401, _CALLER, "invalid_api_key"),
        Reason.PERMISSION_DENIED: Row(
            StatusCode.PERMISSION_DENIED, 403, _CALLER, "permission_denied"
        ),
        Reason.INVALID_REQUEST: Row(StatusCode.INVALID_ARGUMENT, 400, _CALLER, None),
        Reason.CONTEXT_LENGTH_EXCEEDED: Row(
            StatusCode.INVALID_ARGUMENT, 400, _CALLER, "context_length_exceeded"
        ),
        Reason.MODEL_NOT_FOUND: Row(StatusCode.NOT_FOUND, 404, _CALLER, "model_not_found"),
        Reason.RATE_LIMIT_EXCEEDED: Row(
            StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "rate_limit_exceeded"
        ),
        Reason.BUDGET_EXCEEDED: Row(
            StatusCode.RESOURCE_EXHAUSTED, 402, "insufficient_quota", "budget_exceeded"
        ),
        # The status and, where it is of OpenAI's shape, the body are the provider's.
        Reason.UPSTREAM_REJECTED: Row(
            StatusCode.FAILED_PRECONDITION, 400, _CALLER, "upstream_rejected"
        ),
        Reason.UPSTREAM_RATE_LIMITED: Row(
            StatusCode.RESOURCE_EXHAUSTED, 429, "rate_limit_error", "upstream_rate_limited"
        ),
        Reason.UPSTREAM_MISCONFIGURED: Row(
            StatusCode.INTERNAL, 502, _SERVER, "upstream_misconfigured"
        ),
        Reason.UPSTREAM_UNAVAILABLE: Row(
            StatusCode.UNAVAILABLE, 503, _SERVER, "upstream_unavailable"
        ),
        Reason.UPSTREAM_TIMEOUT: Row(
            StatusCode.DEADLINE_EXCEEDED, 504, _SERVER, "upstream_timeout"
        ),
        Reason.STORAGE_UNAVAILABLE: Row(
            StatusCode.UNAVAILABLE, 503, _SERVER, "storage_unavailable"
        ),
        Reason.OVERLOADED: Row(StatusCode.RESOURCE_EXHAUSTED, 503, _SERVER, "overloaded"),
        Reason.SHUTTING_DOWN: Row(StatusCode.UNAVAILABLE, 503, _SERVER, "shutting_down"),
        Reason.NOT_IMPLEMENTED: Row(StatusCode.UNIMPLEMENTED, 501, _SERVER, "not_implemented"),
        Reason.NOT_FOUND: Row(StatusCode.NOT_FOUND, 404, _CALLER, "not_found"),
        Reason.ALREADY_EXISTS: Row(StatusCode.ALREADY_EXISTS, 409, _CALLER, "already_exists"),
        Reason.COLLECTION_NOT_FOUND: Row(
            StatusCode.INVALID_ARGUMENT, 400, _CALLER, "collection_not_found"
        ),
        Reason.EMBEDDER_UNAVAILABLE: Row(
            StatusCode.UNAVAILABLE, 503, _SERVER, "embedder_unavailable"
        ),
        Reason.EMBEDDING_MISMATCH: Row(
            StatusCode.FAILED_PRECONDITION, 409, _CALLER, "embedding_mismatch"
        ),
        # Statuses by draft-ietf-httpapi-idempotency-key-header-07, 2.7. The official SDKs try a 409
        # again, and no 422.
        Reason.IDEMPOTENCY_KEY_REUSED: Row(
            StatusCode.INVALID_ARGUMENT, 422, _CALLER, "idempotency_key_reused"
        ),
        Reason.IDEMPOTENCY_CONFLICT: Row(StatusCode.ABORTED, 409, _CALLER, "idempotency_conflict"),
        Reason.IDEMPOTENT_ANSWER_NOT_KEPT: Row(
            StatusCode.FAILED_PRECONDITION, 422, _CALLER, "idempotent_answer_not_kept"
        ),
        Reason.INTERNAL_ERROR: Row(StatusCode.INTERNAL, 500, _SERVER, "internal_error"),
    }
)


def as_ailb_error(error: Exception, request_id: str) -> AilbError:
    """The error itself if it is for the caller; else an InternalError, and a line in the log.

    The log gets the type and the places, not the message: that may quote a prompt.
    """
    if isinstance(error, AilbError):
        return error
    places = "".join(traceback.format_tb(error.__traceback__))
    _log.error("internal error: %s\n%s", type(error).__qualname__, places)
    return InternalError(
        f"AILB failed. The request id {request_id} finds the reason in its log.",
        request_id=request_id,
    )


def http_status(error: AilbError) -> int:
    """The status a REST caller gets."""
    if isinstance(error, UpstreamRejectedError):
        return error.reply.status
    return TABLE[error.reason].http


def openai_body(error: AilbError) -> bytes:
    """The error as OpenAI writes it; a provider's own body if it refused the caller's request."""
    if isinstance(error, UpstreamRejectedError) and error.reply.body:
        return error.reply.body
    return _openai_json(error, str(error), error.facts.get("param")).encode()


def _openai_json(error: AilbError, message: str, param: str | None) -> str:
    row = TABLE[error.reason]
    fields = {"message": message, "type": row.type, "param": param, "code": row.code}
    return json.dumps({"error": fields})


def response_metadata(error: AilbError) -> list[tuple[str, str]]:
    """What goes with the error on either face: `retry-after`, in whole seconds, rounded up, and
    what tells of the caller's rate limits."""
    told = [*error.headers] if isinstance(error, RateLimitExceededError) else []
    if error.retry_after_s is not None:
        told.append(("retry-after", str(math.ceil(error.retry_after_s))))
    return told


def rest_metadata(error: AilbError) -> list[tuple[str, str]]:
    """What lets Envoy render a typed method's error as OpenAI does."""
    param = _facts(error).get("param")
    body = _openai_json(error, cut(str(error), MAX_METADATA_MESSAGE), param)
    return [(HTTP_STATUS_KEY, str(http_status(error))), (ERROR_BODY_KEY, body)]


def rpc_status(error: AilbError) -> Status:
    """`google.rpc.Status` with ErrorInfo and, if it is worth coming back, RetryInfo (AIP-193)."""
    info = ErrorInfo(reason=error.reason.value, domain=DOMAIN, metadata=_facts(error))
    details = [_packed(info)]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromMilliseconds(math.ceil(error.retry_after_s * 1000))
        details.append(_packed(RetryInfo(retry_delay=delay)))
    code: int = TABLE[error.reason].grpc.value[0]
    message = cut(str(error), MAX_METADATA_MESSAGE)
    return Status(code=code, message=message, details=details)


def _facts(error: AilbError) -> dict[str, str]:
    return {name: cut(value, MAX_METADATA_FACT) for name, value in error.facts.items()}


def cut(text: str, limit: int) -> str:
    """As much of the text as takes `limit` bytes percent-encoded, as grpc-message is."""
    size = 0
    for end, character in enumerate(text):
        plain = " " <= character <= "~" and character != "%"
        size += 1 if plain else 3 * len(character.encode())
        if size > limit:
            return text[:end]
    return text


def _packed(message: ErrorInfo | RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
