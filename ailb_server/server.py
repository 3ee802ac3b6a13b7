"""The gRPC server: its port, its services, its drain."""

from collections.abc import Callable, Sequence
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from ailb_server.api.edge import Edge

MAX_MESSAGE_BYTES = 64 * 1024 * 1024
# Above the edge's own bound: only what the edge does not bound, such as health, can meet this one.
_SPARE_CALLS = 100
_INTERRUPT_S = 2.0
_GOAWAY_S = 0.2

OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # The NLB pings every 10 s, without calls too; the defaults answer that with GOAWAY.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    # Envoy lets 16 KiB of headers through; the defaults refuse half of that, as if overloaded.
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.absolute_max_metadata_size", 64 * 1024),
    # Calls that wait for the interpreter. The defaults cancel some of a burst of 2,000, unseen by
    # the edge, which would refuse them with a reason.
    ("grpc.server.max_pending_requests", 8_192),
    ("grpc.server.max_pending_requests_hard_limit", 16_384),
    # A second server on the port must fail, not share it unseen.
    ("grpc.so_reuseport", 0),
)

# Adds a servicer to a server: a generated `add_…_to_server` with its servicer.
Register = Callable[[grpc.aio.Server], None]


class PortTakenError(Exception):
    """The server cannot listen there."""


class GrpcServer:
    """Starts with health SERVING; stops with a drain."""

    def __init__(self, edge: Edge, services: Sequence[Register], *, max_calls: int) -> None:
        self._edge = edge
        self._server = grpc.aio.server(
            interceptors=(edge,),
            options=OPTIONS,
            maximum_concurrent_rpcs=max_calls + _SPARE_CALLS,
        )
        self._health = health.aio.HealthServicer()
        self._registrar = _GenericOnly(self._server)
        registrar = cast("grpc.aio.Server", self._registrar)
        for register in services:
            register(registrar)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, registrar)
        names = (*self._registrar.names, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.draining = False

    async def start(
        self, host: str, port: int, credentials: grpc.ServerCredentials | None = None
    ) -> int:
        """Listens there, on a free port if `port` is 0, and returns it; with `credentials` by TLS
        only. Raises PortTakenError."""
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            bound = (
                self._server.add_insecure_port(address)
                if credentials is None
                else self._server.add_secure_port(address, credentials)
            )
        except RuntimeError as error:
            raise PortTakenError(f"The gRPC server cannot listen on {address}.") from error
        await self._server.start()
        for name in self._registrar.names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        return bound

    async def announce_end(self) -> None:
        """Health goes NOT_SERVING; calls are taken as before."""
        self.draining = True
        await self._health.enter_graceful_shutdown()

    async def drain(self, timeout_s: float) -> None:
        """New calls are refused, running ones may take `timeout_s`; what still runs then is ended,
        told so."""
        await self.announce_end()
        self._edge.refuse()
        await self._edge.wait_idle(timeout_s)
        # Here and not only in `stop`: before that, `ailb up` ends the Envoy that passes it on.
        await self._edge.interrupt(_INTERRUPT_S)

    async def stop(self) -> None:
        """Ends what still runs, told so: a stream that just stopped would look complete."""
        self._edge.refuse()
        await self._edge.interrupt(_INTERRUPT_S)
        # A moment for a call that crosses with the GOAWAY: it is refused, in words, and not cut.
        await self._server.stop(_GOAWAY_S)


class _GenericOnly:
    """Lets generated code add handlers by name only.

    grpc.aio waits anew on every *registered* method for each call: forty of them cost 12 % of a
    small call. Handlers found by name cost nothing more.
    """

    def __init__(self, server: grpc.aio.Server) -> None:
        self._server = server
        self.names: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """See `grpc.aio.Server`."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, _: object) -> None:
        """Keeps the service's name only."""
        self.names.append(service)
