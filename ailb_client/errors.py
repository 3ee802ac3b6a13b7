"""What can go wrong with a call, as one exception."""

from collections.abc import Iterable, Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from typing_extensions import override

DOMAIN = "ailb"
_DETAILS_KEY = "grpc-status-details-bin"
_REQUEST_ID_KEY = "x-request-id"


class AilbError(Exception):
    """A call that failed. Nothing was retried.

    * `reason`: AILB's reason, a name of `ErrorReason` such as `MODEL_NOT_FOUND`. None if AILB did
      not give one: it could not be reached, broke off, or the deadline passed.
    * `code`: the gRPC status.
    * `message`: for people.
    * `metadata`: facts of the reason, such as `param`, `model`, `provider`.
    * `retry_after_s`: seconds to wait before another try, if AILB told.
    * `request_id`: finds the call in AILB's log, if AILB told.
    """

    def __init__(
        self,
        reason: str | None,
        code: grpc.StatusCode,
        message: str,
        metadata: Mapping[str, str],
        retry_after_s: float | None,
        request_id: str | None,
    ) -> None:
        # All of them, or the exception cannot be pickled.
        super().__init__(reason, code, message, metadata, retry_after_s, request_id)
        self.reason = reason
        self.code = code
        self.message = message
        self.metadata = metadata
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    @override
    def __str__(self) -> str:
        where = f", request {self.request_id}" if self.request_id else ""
        return f"{self.message} ({self.reason or self.code.name}{where})"


def ailb_error(error: grpc.aio.AioRpcError, target: str) -> AilbError:
    """Reads `google.rpc.ErrorInfo` and `RetryInfo` from the call's `google.rpc.Status`."""
    trailing = list(error.trailing_metadata() or ())
    try:
        info, retry = _details(trailing)
    except DecodeError:
        info, retry = ErrorInfo(), None
    told = {key: value for key, value in trailing if isinstance(value, str)}
    return AilbError(
        info.reason or None,
        error.code(),
        (error.details() or "") if info.reason else _explained(error, target),
        dict(info.metadata),
        None if retry is None else retry.retry_delay.ToTimedelta().total_seconds(),
        told.get(_REQUEST_ID_KEY),
    )


def _details(metadata: Iterable[tuple[str, str | bytes]]) -> tuple[ErrorInfo, RetryInfo | None]:
    """AILB's ErrorInfo, empty if there is none, and RetryInfo."""
    found, retry = ErrorInfo(), None
    for packed in _status(metadata).details:
        info, delay = ErrorInfo(), RetryInfo()
        if packed.Unpack(delay):
            retry = delay
        elif packed.Unpack(info) and info.domain == DOMAIN:
            found = info
    return found, retry


def _status(metadata: Iterable[tuple[str, str | bytes]]) -> Status:
    for key, value in metadata:
        if key == _DETAILS_KEY and isinstance(value, bytes):
            return Status.FromString(value)
    return Status()


def _explained(error: grpc.aio.AioRpcError, target: str) -> str:
    """What gRPC itself says, in words that name the server."""
    details = error.details() or "no details"
    match error.code():
        case grpc.StatusCode.UNAVAILABLE:
            return f"AILB at {target} cannot be reached, or broke off: {details}"
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return f"AILB at {target} did not answer in time"
        case grpc.StatusCode.UNIMPLEMENTED:
            return f"{target} does not know the call; is it AILB's gRPC port? {details}"
        case _:
            return details
