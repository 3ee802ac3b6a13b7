"""Every RPC of every service has a row in the table of who may call it, and no key opens none."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from ailb_server.access.authenticator import Authenticator
from ailb_server.access.secret import Digester, new_secret
from ailb_server.api.authorisation import TABLE, Access
from ailb_server.api.edge import Edge
from ailb_server.api.gate import Gate
from ailb_server.domain.api_key import Match
from ailb_server.server import GrpcServer
from tests.shape.test_services import SERVICES, registers

OTHERS = {
    f"/{service.full_name}/{method.name}"
    for package in (health_pb2, reflection_pb2)
    for service in package.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
RPCS = {f"/{s.full_name}/{method.name}" for s in SERVICES for method in s.methods} | OTHERS
PUBLIC = {method for method, access in TABLE.items() if access is Access.ANYBODY}


def test_every_rpc_has_a_row() -> None:
    assert RPCS - TABLE.keys() == set()


def test_every_row_has_an_rpc() -> None:
    assert TABLE.keys() - RPCS == set()


def test_only_health_and_the_dashboards_files_ask_nobody() -> None:
    assert {method.rpartition("/")[0] for method in PUBLIC} == {
        "/ailb.v1.DashboardService",
        "/grpc.health.v1.Health",
        "/ailb.v1.HealthService",
    }


class NoKeys:
    """A store without a key."""

    async def find(self, digest: bytes) -> Match | None:
        return None


@contextlib.asynccontextmanager
async def channel() -> AsyncIterator[grpc.aio.Channel]:
    """To a server with every service that is there, over nothing."""
    keys = Authenticator(NoKeys(), Digester(bytes(32)))
    edge = Edge(10, Gate(keys, lambda _: None))
    server = GrpcServer(edge, tuple(registers()), max_calls=10)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as opened:
        yield opened
    await server.stop()


async def code(
    opened: grpc.aio.Channel, method: str, *metadata: tuple[str, str]
) -> grpc.StatusCode:
    ask: Any = opened.stream_stream(method)
    call = ask(iter([b""]), metadata=metadata, timeout=10)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        async for _ in call:
            pass
    return refused.value.code()


async def test_every_other_rpc_refuses_a_caller_without_a_good_key() -> None:
    async with channel() as opened:
        for method in sorted(RPCS - PUBLIC):
            unknown = ("authorization", f"Bearer {new_secret()}")
            codes = await asyncio.gather(
                code(opened, method),
                code(opened, method, unknown),
                code(opened, method, ("x-api-key", "sk-1")),
            )
            # That every RPC is registered is another test's.
            if set(codes) != {grpc.StatusCode.UNIMPLEMENTED}:
                assert set(codes) == {grpc.StatusCode.UNAUTHENTICATED}, method
