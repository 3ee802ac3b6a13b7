"""One connection to the load balancer, and the calls that are made over it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, cast

import grpc

from marchproxy import nlb_pb2 as pb
from marchproxy import nlb_pb2_grpc, types_pb2

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")

# As MarchProxy's own client has it both ways.
_MAX_MESSAGE_BYTES = 16 * 1024 * 1024
_MAX_TOLD = 300
_OPTIONS = (
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    # Else a new channel shares the pauses of one that failed before, of up to two minutes.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
    # No keepalive pings: a grpc-go server sends away who pings more often than every 5 minutes.
)


class Trouble(StrEnum):
    """What became of a call that did not come about."""

    # Nobody answers there.
    AWAY = "away"
    # No answer in time.
    LATE = "late"
    # It does not know this registration.
    UNKNOWN = "unknown"
    # It knows another of this MODULE_ID.
    EXISTS = "exists"
    # It answers that it will not, or cannot.
    REFUSED = "refused"
    # Our own files of TLS cannot be used.
    FILES = "files"


class NlbError(Exception):
    """A call that did not come about; the message is for people, and never of another's length."""

    def __init__(self, trouble: Trouble, message: str) -> None:
        super().__init__(message[:_MAX_TOLD])
        self.trouble = trouble


_TROUBLES = MappingProxyType(
    {
        grpc.StatusCode.UNAVAILABLE: Trouble.AWAY,
        grpc.StatusCode.DEADLINE_EXCEEDED: Trouble.LATE,
        grpc.StatusCode.NOT_FOUND: Trouble.UNKNOWN,
        grpc.StatusCode.ALREADY_EXISTS: Trouble.EXISTS,
    }
)
_REASONS = MappingProxyType(
    {
        types_pb2.STATUS_CODE_NOT_FOUND: Trouble.UNKNOWN,
        types_pb2.STATUS_CODE_ALREADY_EXISTS: Trouble.EXISTS,
    }
)


class _Answer(Protocol):
    @property
    def success(self) -> bool: ...
    @property
    def message(self) -> str: ...
    @property
    def error(self) -> types_pb2.Error: ...


@dataclass(frozen=True, slots=True)
class Link:
    """All raise NlbError, after `timeout_s` at the latest."""

    channel: grpc.aio.Channel
    timeout_s: float

    async def register(self, request: pb.RegisterModuleRequest) -> str:
        """The id that heartbeats carry from then on."""
        answer = await self._call("RegisterModule", pb.RegisterModuleResponse, request)
        _require(answer)
        return answer.registration_id

    async def heartbeat(self, request: pb.HeartbeatRequest) -> pb.HeartbeatResponse:
        """One that is not acknowledged is of a registration that is not known (any more)."""
        answer = await self._call("Heartbeat", pb.HeartbeatResponse, request)
        if not answer.acknowledged:
            raise NlbError(Trouble.UNKNOWN, answer.message or "not acknowledged")
        return answer

    async def unregister(self, request: pb.UnregisterModuleRequest) -> None:
        """Raises for a registration that is not known, too."""
        _require(await self._call("UnregisterModule", pb.UnregisterModuleResponse, request))

    async def close(self) -> None:
        """At once; running calls end by an error."""
        await self.channel.close(None)

    async def _call(self, rpc: str, _: type[R], request: Any) -> R:
        stub: Any = nlb_pb2_grpc.NLBServiceStub(self.channel)
        call = cast("Callable[..., Awaitable[R]]", getattr(stub, rpc))
        try:
            return await call(request, timeout=self.timeout_s)
        except grpc.aio.AioRpcError as error:
            code = error.code()
            trouble = _TROUBLES.get(code, Trouble.REFUSED)
            raise NlbError(trouble, f"{rpc}: {code.name}: {error.details()}") from None


def dial(
    address: str, timeout_s: float, credentials: grpc.ChannelCredentials | None = None
) -> Link:
    """Connects with the first call; by plain text without `credentials`."""
    channel = (
        grpc.aio.insecure_channel(address, _OPTIONS)
        if credentials is None
        else grpc.aio.secure_channel(address, credentials, _OPTIONS)
    )
    return Link(channel, timeout_s)


def _require(answer: _Answer) -> None:
    if answer.success:
        return
    trouble = _REASONS.get(answer.error.code, Trouble.REFUSED)
    raise NlbError(trouble, answer.message or answer.error.message or "refused without a reason")
