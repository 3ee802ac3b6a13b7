"""Every error that AILB reports to a caller; `ailb.v1.ErrorReason` names the same ones.

AilbError
  InvalidApiKeyError, PermissionDeniedError
  InvalidRequestError
    ContextLengthExceededError, CollectionNotFoundError
  NotFoundError, AlreadyExistsError, EmbeddingMismatchError
  ModelNotFoundError
  RateLimitExceededError, BudgetExceededError
  IdempotencyKeyReusedError, IdempotencyConflictError, IdempotentAnswerNotKeptError
  UpstreamError (a provider did not answer)
    UpstreamRejectedError          the caller's request is at fault, by the provider's word
    UpstreamRateLimitedError, UpstreamMisconfiguredError,
    UpstreamUnavailableError, UpstreamTimeoutError
    UpstreamContextLengthError     a ContextLengthExceededError by the provider's word
    UpstreamModelMissingError      a ModelNotFoundError by the provider's word
    UntranslatableError            an InvalidRequestError, but only to some of the targets
  StorageUnavailableError, EmbedderUnavailableError, OverloadedError, ShuttingDownError
  NotImplementedHereError, InternalError
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Reason(StrEnum):
    """Names of `ailb.v1.ErrorReason` without their prefix."""

    INVALID_API_KEY = "INVALID_API_KEY"
    PERMISSION_DENIED = "PERMISSION_DENIED"
    INVALID_REQUEST = "INVALID_REQUEST"
    CONTEXT_LENGTH_EXCEEDED = "CONTEXT_LENGTH_EXCEEDED"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    RATE_LIMIT_EXCEEDED = "RATE_LIMIT_EXCEEDED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    UPSTREAM_REJECTED = "UPSTREAM_REJECTED"
    UPSTREAM_RATE_LIMITED = "UPSTREAM_RATE_LIMITED"
    UPSTREAM_MISCONFIGURED = "UPSTREAM_MISCONFIGURED"
    UPSTREAM_UNAVAILABLE = "UPSTREAM_UNAVAILABLE"
    UPSTREAM_TIMEOUT = "UPSTREAM_TIMEOUT"
    STORAGE_UNAVAILABLE = "STORAGE_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    INTERNAL_ERROR = "INTERNAL_ERROR"
    SHUTTING_DOWN = "SHUTTING_DOWN"
    NOT_IMPLEMENTED = "NOT_IMPLEMENTED"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    COLLECTION_NOT_FOUND = "COLLECTION_NOT_FOUND"
    EMBEDDER_UNAVAILABLE = "EMBEDDER_UNAVAILABLE"
    EMBEDDING_MISMATCH = "EMBEDDING_MISMATCH"
    IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
    IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
    IDEMPOTENT_ANSWER_NOT_KEPT = "IDEMPOTENT_ANSWER_NOT_KEPT"


class AilbError(Exception):
    """An error with a message that may be shown to the caller.

    `facts` are the metadata of `google.rpc.ErrorInfo`; `param` is one of them. `retry_after_s`
    is told to the caller as `retry-after` and `google.rpc.RetryInfo`.
    """

    reason: ClassVar[Reason]

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, **facts: str | None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.facts: Mapping[str, str] = {k: v for k, v in facts.items() if v is not None}


class InvalidApiKeyError(AilbError):
    """The API key is missing, unknown, expired or revoked."""

    reason = Reason.INVALID_API_KEY


class PermissionDeniedError(AilbError):
    """The API key may not do this."""

    reason = Reason.PERMISSION_DENIED


class InvalidRequestError(AilbError):
    """The request is malformed; the fact `param` names the field where there is one."""

    reason = Reason.INVALID_REQUEST


class ContextLengthExceededError(InvalidRequestError):
    """The prompt is longer than the model's context."""

    reason = Reason.CONTEXT_LENGTH_EXCEEDED


class CollectionNotFoundError(InvalidRequestError):
    """A chat names a collection that the tenant has not."""

    reason = Reason.COLLECTION_NOT_FOUND


class NotFoundError(AilbError):
    """What the request names is not there; the fact `param` names the field."""

    reason = Reason.NOT_FOUND


class AlreadyExistsError(AilbError):
    """What the request would make is there already; the fact `param` names the field."""

    reason = Reason.ALREADY_EXISTS


class EmbeddingMismatchError(AilbError):
    """What is stored was embedded by another model than the configured one."""

    reason = Reason.EMBEDDING_MISMATCH


class EmbedderUnavailableError(AilbError):
    """Texts cannot be turned into vectors now."""

    reason = Reason.EMBEDDER_UNAVAILABLE


class ModelNotFoundError(AilbError):
    """No provider serves the model."""

    reason = Reason.MODEL_NOT_FOUND


class RateLimitExceededError(AilbError):
    """The caller's rate limit is spent. `headers` tell of it, as an answer's would."""

    reason = Reason.RATE_LIMIT_EXCEEDED

    def __init__(
        self,
        message: str,
        *,
        headers: Sequence[tuple[str, str]] = (),
        retry_after_s: float | None = None,
        **facts: str | None,
    ) -> None:
        super().__init__(message, retry_after_s=retry_after_s, **facts)
        self.headers = headers


class BudgetExceededError(AilbError):
    """The caller's budget is spent."""

    reason = Reason.BUDGET_EXCEEDED


class IdempotencyKeyReusedError(AilbError):
    """The Idempotency-Key was sent with another body before."""

    reason = Reason.IDEMPOTENCY_KEY_REUSED


class IdempotencyConflictError(AilbError):
    """A request with the same Idempotency-Key runs."""

    reason = Reason.IDEMPOTENCY_CONFLICT


class IdempotentAnswerNotKeptError(AilbError):
    """A request with the same Idempotency-Key was answered, by more than is kept."""

    reason = Reason.IDEMPOTENT_ANSWER_NOT_KEPT


class StorageUnavailableError(AilbError):
    """The store is down and the answer needs it."""

    reason = Reason.STORAGE_UNAVAILABLE


class OverloadedError(AilbError):
    """This instance serves as many calls as it may."""

    reason = Reason.OVERLOADED


class ShuttingDownError(AilbError):
    """This instance ends; another one answers."""

    reason = Reason.SHUTTING_DOWN


class NotImplementedHereError(AilbError):
    """This server has no such method."""

    reason = Reason.NOT_IMPLEMENTED


class InternalError(AilbError):
    """A fault of AILB."""

    reason = Reason.INTERNAL_ERROR


class UpstreamError(AilbError):
    """A provider did not answer.

    `failover`: another target may be asked. `darkens`: it speaks against the target.
    """

    failover: ClassVar[bool] = True
    darkens: ClassVar[bool] = True


@dataclass(frozen=True, slots=True)
class UpstreamReply:
    """What a provider answered instead of a completion: relayed as it is."""

    status: int
    content_type: str
    body: bytes


class UpstreamRejectedError(UpstreamError):
    """The provider refuses the caller's request as it is."""

    reason = Reason.UPSTREAM_REJECTED
    failover = False
    darkens = False

    def __init__(self, message: str, reply: UpstreamReply, *, provider: str) -> None:
        super().__init__(message, provider=provider, status=str(reply.status))
        self.reply = reply


class UpstreamContextLengthError(ContextLengthExceededError, UpstreamRejectedError):
    """The prompt is longer than this target's context: one with a larger context may be asked."""

    failover = True


class UpstreamModelMissingError(ModelNotFoundError, UpstreamRejectedError):
    """The provider has not got the model that AILB chose there, or something else it was asked for:
    another target may."""

    failover = True


class UpstreamRateLimitedError(UpstreamError):
    """The provider limits AILB's rate; cools the target, does not darken it."""

    reason = Reason.UPSTREAM_RATE_LIMITED
    darkens = False


class UpstreamMisconfiguredError(UpstreamError):
    """The provider refuses AILB's credential: the operator's fault.

    `forbids`: it knows the credential, and refuses it this, which may be this one model.
    """

    reason = Reason.UPSTREAM_MISCONFIGURED
    forbids = False


class UpstreamUnavailableError(UpstreamError):
    """The provider failed, could not be reached, or broke off.

    `resendable`: a connection kept from before was closed without a byte of an answer, as happens
    when both sides act at once; the same request may be sent again on a new one. `event` is the
    error as an Anthropic provider's stream told it, if it did: the last event of its relay.
    """

    reason = Reason.UPSTREAM_UNAVAILABLE
    resendable = False
    event = b""


class UpstreamTimeoutError(UpstreamError):
    """The provider did not answer in time."""

    reason = Reason.UPSTREAM_TIMEOUT


class UntranslatableError(InvalidRequestError, UpstreamError):
    """The request asks for what this provider's format cannot say; another's may."""

    darkens = False
