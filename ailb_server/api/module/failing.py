"""How ModuleService tells that something did not happen."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Protocol, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from ailb_server.api.errors import TABLE
from ailb_server.domain.errors import AilbError, Reason
from marchproxy import types_pb2

Q = TypeVar("Q")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

# By the gRPC code that the reason has in the error table.
_CODES: Mapping[str, types_pb2.StatusCode.ValueType] = MappingProxyType(
    {
        "INVALID_ARGUMENT": types_pb2.STATUS_CODE_INVALID_ARGUMENT,
        "FAILED_PRECONDITION": types_pb2.STATUS_CODE_INVALID_ARGUMENT,
        "NOT_FOUND": types_pb2.STATUS_CODE_NOT_FOUND,
        "ALREADY_EXISTS": types_pb2.STATUS_CODE_ALREADY_EXISTS,
        "UNAVAILABLE": types_pb2.STATUS_CODE_UNAVAILABLE,
        "DEADLINE_EXCEEDED": types_pb2.STATUS_CODE_UNAVAILABLE,
        "PERMISSION_DENIED": types_pb2.STATUS_CODE_PERMISSION_DENIED,
        "RESOURCE_EXHAUSTED": types_pb2.STATUS_CODE_RESOURCE_EXHAUSTED,
    }
)
# What is not about the call's subject is a gRPC status, as for every other service.
_BY_STATUS = frozenset(
    {
        Reason.INVALID_API_KEY,
        Reason.PERMISSION_DENIED,
        Reason.NOT_IMPLEMENTED,
        Reason.OVERLOADED,
        Reason.SHUTTING_DOWN,
        Reason.INTERNAL_ERROR,
    }
)


class Failing(Protocol[R_co]):
    """A response that can tell of a failure."""

    def __call__(self, *, success: bool, message: str, error: types_pb2.Error | None) -> R_co:
        """A new one."""
        ...


async def or_failed(failing: Failing[R], work: Awaitable[R]) -> R:
    """What `work` returns; a failure of the application within the response, as its fields ask.

    The status of such a call is OK, since a client in Go drops the response of any other. Raises
    AilbError for what is not about the call's subject.
    """
    try:
        return await work
    except AilbError as error:
        if error.reason in _BY_STATUS:
            raise
        return failing(success=False, message=str(error), error=error_of(error))


def telling(
    response: Callable[..., R], work: Callable[[Q], Awaitable[str]]
) -> Callable[[Q], Awaitable[R]]:
    """Makes a response of what `work` returns to be told."""

    async def told(request: Q) -> R:
        return response(success=True, message=await work(request))

    return told


def error_of(error: AilbError) -> types_pb2.Error:
    """`details` has the reason's name and the error's facts, of which `param` names a field."""
    code = _CODES.get(TABLE[error.reason].grpc.name, types_pb2.STATUS_CODE_ERROR)
    details = {"reason": error.reason.value, **error.facts}
    return types_pb2.Error(code=code, message=str(error), details=details, occurred_at=now())


def now() -> Timestamp:
    """The time of day."""
    at = Timestamp()
    at.FromDatetime(datetime.now(UTC))
    return at
