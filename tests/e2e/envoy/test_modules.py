"""MarchProxy's service is out of reach by the REST port, though Envoy calls from loopback."""

import ipaddress
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import pytest
import yaml

from ailb_server.api import gate as gates
from ailb_server.api.authorisation import Access
from ailb_server.api.call import current_call
from ailb_server.api.edge import Edge
from ailb_server.api.gate import Gate
from ailb_server.api.modules import ModuleDoor
from ailb_server.domain.errors import InvalidApiKeyError
from ailb_server.domain.principal import Principal, Role
from ailb_server.local import envoy as embedded
from ailb_server.local.envoy import EmbeddedEnvoy
from ailb_server.local.envoy_config import render
from ailb_server.local.envoy_transport import PemPair, Transport
from ailb_server.server import GrpcServer
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile, TlsFiles
from ailb_server.tls.serving import ServerTls
from tests.e2e.envoy.conftest import free_port
from tests.support.certificates import Pems

METHOD = "/marchproxy.ModuleService/GetStatus"
KEY = ("authorization", "Bearer module")


class Keys:
    """Knows one key, with the role module."""

    def known(self, secret: str) -> Principal | None:
        return Principal(name="nlb", role=Role.MODULE) if secret == "module" else None

    def is_ours(self, secret: str) -> bool:
        return True

    async def authenticate(self, secret: str) -> Principal:
        found = self.known(secret)
        if found is None:
            raise InvalidApiKeyError("unknown", problem="unknown")
        return found


@dataclass(frozen=True, slots=True)
class Ports:
    server: int
    rest: int


def with_grpc_passed_on(source: Path, edge: Any) -> str:
    """What nobody should do: every path to the server, gRPC too."""
    config = yaml.safe_load(render(source, edge))
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    (host,) = chain["filters"][0]["typed_config"]["route_config"]["virtual_hosts"]
    host["routes"] = [
        {
            "match": {"prefix": "/"},
            "route": {"cluster": "ailb"},
            # It takes gRPC's status away.
            "typed_per_filter_config": {
                "envoy.filters.http.header_mutation": {
                    "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
                    "disabled": True,
                }
            },
        }
    ]
    text: str = yaml.safe_dump(config)
    return text


@asynccontextmanager
async def serving(pems: Pems | None = None) -> AsyncIterator[Ports]:
    """A server that trusts loopback and certificates, and Envoy, which has one of each."""

    async def answer(request: bytes, context: object) -> bytes:
        return current_call.get().principal.name.encode()

    handlers = grpc.method_handlers_generic_handler(
        "marchproxy.ModuleService", {"GetStatus": grpc.unary_unary_rpc_method_handler(answer)}
    )
    register: Any = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731
    networks = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
    gate = Gate(Keys(), lambda _: None, modules=ModuleDoor(networks))
    server = GrpcServer(Edge(10, gate), (register,), max_calls=10)
    credentials, transport = (None, None) if pems is None else secured(pems)
    async with AsyncExitStack() as stack:
        port = await server.start("127.0.0.1", 0, credentials)
        stack.push_async_callback(server.stop)
        rest = free_port()
        envoy = EmbeddedEnvoy(
            host="127.0.0.1", port=rest, upstream_ports=(port,), concurrency=1, transport=transport
        )
        await envoy.start()
        stack.push_async_callback(envoy.stop)
        yield Ports(port, rest)


def secured(pems: Pems) -> tuple[grpc.ServerCredentials, Transport]:
    certificate, key = pems.pair()
    own, own_key = pems.pair("envoy")
    ca = pems.ca()
    files = TlsFiles(NamedFile("c", certificate), NamedFile("k", key), NamedFile("ca", ca))
    client = PemPair(str(own), str(own_key))
    transport = Transport(server_ca=str(ca), server_names=("localhost",), client=client)
    return ServerTls(files).credentials(), transport


@pytest.fixture(autouse=True)
def module_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "access_to", lambda method, *, open_metrics=False: Access.MODULE)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Envoy passes gRPC on."""
    monkeypatch.setattr(embedded, "render", with_grpc_passed_on)


async def asked(
    port: int, *metadata: tuple[str, str], files: CallerFiles | None = None
) -> bytes | grpc.StatusCode:
    target = f"127.0.0.1:{port}"
    channel = (
        grpc.aio.insecure_channel(target)
        if files is None
        else grpc.aio.secure_channel(target, files.credentials())
    )
    async with channel:
        call: Any = channel.unary_unary(METHOD)
        try:
            return bytes(await call(b"", metadata=metadata, timeout=10))
        except grpc.aio.AioRpcError as error:
            return error.code()


async def test_by_the_rest_port_there_is_no_grpc_and_no_path() -> None:
    async with serving() as ports:
        assert await asked(ports.server) == b"address 127.0.0.1"
        assert await asked(ports.rest) is grpc.StatusCode.UNIMPLEMENTED
        assert await asked(ports.rest, KEY) is grpc.StatusCode.UNIMPLEMENTED
        for kind in ("application/json", "application/grpc-web", "application/x-protobuf"):
            async with aiohttp.request(
                "POST", f"http://127.0.0.1:{ports.rest}{METHOD}", headers={"content-type": kind}
            ) as reply:
                assert reply.headers.get("grpc-status") != "0"
                assert await reply.read() != b"address 127.0.0.1"


@pytest.mark.usefixtures("opened")
async def test_an_envoy_that_passes_grpc_on_is_not_taken_for_its_callers() -> None:
    async with serving() as ports:
        assert await asked(ports.server) == b"address 127.0.0.1"
        for metadata in (
            (),
            (("x-forwarded-for", ""),),
            (("x-forwarded-for", "127.0.0.1"), ("x-forwarded-proto", "http")),
        ):
            assert await asked(ports.rest, *metadata) is grpc.StatusCode.UNAUTHENTICATED
        # Proof that the call came so far.
        assert await asked(ports.rest, KEY) == b"nlb"


@pytest.mark.usefixtures("opened")
async def test_nor_is_its_certificate_its_callers(tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    async with serving(pems) as ports:
        own = CallerFiles(
            NamedFile("ca", pems.ca()),
            NamedFile("c", tmp_path / "envoy.pem"),
            NamedFile("k", tmp_path / "envoy.key"),
        )
        direct = await asked(ports.server, files=own)
        assert isinstance(direct, bytes)
        assert direct.startswith(b"certificate ")
        assert await asked(ports.rest) is grpc.StatusCode.UNAUTHENTICATED
        assert await asked(ports.rest, KEY) == b"nlb"
