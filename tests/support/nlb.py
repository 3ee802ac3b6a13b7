"""MarchProxy's load balancer as a test has it: a real server that remembers, and obeys a script."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self, TypeAlias

import grpc

from marchproxy import module_pb2_grpc
from marchproxy import nlb_pb2 as pb
from marchproxy import types_pb2 as types

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
PATIENCE_S = 15.0
# As MarchProxy's own client has them: docs/marchproxy.md.
CLIENT_OPTIONS = (
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass
class Script:
    """How it answers. `refuse_registrations` and `fail_heartbeats` are how many of the next, the
    first by `refusal`; who is unknown learns it `by_status` or by the answer; `delay_s` is before
    each answer. `exclusive`: whom it knows it does not register again. `answers` are taken one
    by one by heartbeats."""

    refuse_registrations: int = 0
    refusal: types.StatusCode.ValueType = types.STATUS_CODE_PERMISSION_DENIED
    by_status: bool = True
    fail_heartbeats: int = 0
    exclusive: bool = False
    delay_s: float = 0.0
    answers: list[pb.HeartbeatResponse] = field(default_factory=list)


class TestNlb:
    """`calls` are the requests in the order they came; `known` are registrations by their ids.

    `on_unregister` is awaited as an instance leaves. It is started and stopped again and again on
    one port, and forgets what it knew; `calls` stay.
    """

    # Not a class of tests, whatever its name begins with.
    __test__ = False

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.calls: list[Any] = []
        self.known: dict[str, pb.RegisterModuleRequest] = {}
        self.script = Script()
        self.on_unregister: Callable[[], Awaitable[object]] = _nothing
        self.address = ""
        self._port = 0
        self._credentials = credentials
        self._numbers = itertools.count(1)
        self._server: grpc.aio.Server | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.kill()

    async def start(self) -> None:
        """On the port that it had before, if any."""
        server = self._server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
        server.add_generic_rpc_handlers((self._handlers(),))
        place = f"127.0.0.1:{self._port}"
        self._port = (
            server.add_insecure_port(place)
            if self._credentials is None
            else server.add_secure_port(place, self._credentials)
        )
        self.address = f"127.0.0.1:{self._port}"
        await server.start()

    async def kill(self) -> None:
        """At once, and without a memory."""
        self.known.clear()
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def of(self, kind: type[Any]) -> list[Any]:
        """The requests of one kind."""
        return [call for call in self.calls if isinstance(call, kind)]

    @property
    def registrations(self) -> list[pb.RegisterModuleRequest]:
        """Every one that was asked for."""
        return self.of(pb.RegisterModuleRequest)

    @property
    def heartbeats(self) -> list[pb.HeartbeatRequest]:
        """Every one that came."""
        return self.of(pb.HeartbeatRequest)

    async def until(self, condition: Callable[[], object]) -> None:
        """Waits until it holds; fails after PATIENCE_S."""
        async with asyncio.timeout(PATIENCE_S):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0.02)

    async def beats(self, count: int = 1) -> pb.HeartbeatRequest:
        """The newest heartbeat, after `count` more have come."""
        seen = len(self.heartbeats)
        await self.until(lambda: len(self.heartbeats) >= seen + count)
        return self.heartbeats[-1]

    def _handlers(self) -> grpc.GenericRpcHandler:
        """What a module calls; the rest of NLBService is UNIMPLEMENTED here."""
        methods: dict[str, tuple[Any, Any]] = {
            "RegisterModule": (self._register, pb.RegisterModuleRequest),
            "Heartbeat": (self._heartbeat, pb.HeartbeatRequest),
            "UnregisterModule": (self._unregister, pb.UnregisterModuleRequest),
        }
        return grpc.method_handlers_generic_handler(
            pb.DESCRIPTOR.services_by_name["NLBService"].full_name,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    method,
                    request_deserializer=kind.FromString,
                    response_serializer=_serialized,
                )
                for name, (method, kind) in methods.items()
            },
        )

    async def _register(
        self, request: pb.RegisterModuleRequest, context: Context
    ) -> pb.RegisterModuleResponse:
        self.calls.append(request)
        await asyncio.sleep(self.script.delay_s)
        if self.script.refuse_registrations > 0:
            self.script.refuse_registrations -= 1
            error = types.Error(code=self.script.refusal, message="not today")
            return pb.RegisterModuleResponse(message="not today", error=error)
        names = {known.instance.instance_id for known in self.known.values()}
        if self.script.exclusive and request.instance.instance_id in names:
            await context.abort(grpc.StatusCode.ALREADY_EXISTS, "is here already")
        known = f"r-{next(self._numbers)}"
        self.known[known] = request
        return pb.RegisterModuleResponse(success=True, registration_id=known)

    async def _heartbeat(
        self, request: pb.HeartbeatRequest, context: Context
    ) -> pb.HeartbeatResponse:
        self.calls.append(request)
        await asyncio.sleep(self.script.delay_s)
        if self.script.fail_heartbeats > 0:
            self.script.fail_heartbeats -= 1
            await context.abort(grpc.StatusCode.INTERNAL, "not now")
        if request.registration_id not in self.known:
            if self.script.by_status:
                await context.abort(grpc.StatusCode.NOT_FOUND, "who is this?")
            return pb.HeartbeatResponse(message="who is this?")
        answer = self.script.answers.pop(0) if self.script.answers else pb.HeartbeatResponse()
        answer.acknowledged = True
        return answer

    async def _unregister(
        self, request: pb.UnregisterModuleRequest, context: Context
    ) -> pb.UnregisterModuleResponse:
        self.calls.append(request)
        await self.on_unregister()
        await asyncio.sleep(self.script.delay_s)
        gone = self.known.pop(request.registration_id, None) is not None
        return pb.UnregisterModuleResponse(success=gone)


def _serialized(message: Any) -> bytes:
    found: bytes = message.SerializeToString()
    return found


async def _nothing() -> None:
    """Nobody watches."""


def client(address: str) -> tuple[grpc.aio.Channel, Any]:
    """The load balancer's way to an instance: its channel, and ModuleService over it, without a
    key."""
    channel = grpc.aio.insecure_channel(address, CLIENT_OPTIONS)
    return channel, module_pb2_grpc.ModuleServiceStub(channel)
