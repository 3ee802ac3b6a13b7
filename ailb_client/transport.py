"""Bytes to AILB and back."""

from dataclasses import dataclass

import betterproto2
import grpc

from ailb_client.errors import ailb_error

_PACKAGE = "ailb.v1"


@dataclass(frozen=True, slots=True)
class Transport:
    """A channel, and what every call over it carries. `timeout_s` bounds a whole call."""

    channel: grpc.aio.Channel
    target: str
    metadata: tuple[tuple[str, str], ...]
    timeout_s: float

    # Messages are encoded here, not by gRPC: what it cannot encode fails where it was given.

    async def unary(
        self, method: str, request: betterproto2.Message, timeout_s: float
    ) -> tuple[bytes, grpc.aio.Metadata]:
        """Returns the response and the initial metadata. Raises AilbError."""
        send: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
        send = self.channel.unary_unary(f"/{_PACKAGE}.{method}")
        call = send(bytes(request), timeout=timeout_s, metadata=self.metadata)
        try:
            return await call, await call.initial_metadata()
        except grpc.aio.AioRpcError as error:
            raise ailb_error(error, self.target) from error

    def stream(
        self, method: str, request: betterproto2.Message, timeout_s: float
    ) -> grpc.aio.UnaryStreamCall[bytes, bytes]:
        """Starts a call whose responses are yet to be read."""
        send: grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
        send = self.channel.unary_stream(f"/{_PACKAGE}.{method}")
        return send(bytes(request), timeout=timeout_s, metadata=self.metadata)
