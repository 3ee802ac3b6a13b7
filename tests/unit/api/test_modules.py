"""Whom MarchProxy's service lets in: by key, certificate, address; never through a proxy."""

import ipaddress
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from ailb_server.access.refusals import Refusal
from ailb_server.api import gate as gates
from ailb_server.api.authorisation import Access, access_to
from ailb_server.api.call import current_call
from ailb_server.api.edge import Edge
from ailb_server.api.gate import Gate
from ailb_server.api.modules import ModuleDoor, address_of, came
from ailb_server.domain.errors import InvalidApiKeyError, StorageUnavailableError
from ailb_server.domain.principal import Principal, Role
from ailb_server.server import GrpcServer
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile, TlsFiles
from ailb_server.tls.serving import ServerTls
from tests.support.certificates import Pems
from tests.unit.doubles import FakeContext

METHOD = "/marchproxy.ModuleService/GetStatus"
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1/128"))
MODULE = Principal(name="nlb", role=Role.MODULE)
REST = ("x-envoy-original-path", "/v1/models")


class Keys:
    """Knows one key of each role; the store is away for `slow`."""

    def known(self, secret: str) -> Principal | None:
        return {"module": MODULE, "admin": Principal(name="root", role=Role.ADMIN)}.get(secret)

    def is_ours(self, secret: str) -> bool:
        return True

    async def authenticate(self, secret: str) -> Principal:
        if secret == "slow":
            raise StorageUnavailableError("away")
        found = self.known(secret)
        if found is None:
            raise InvalidApiKeyError("not known", problem="unknown")
        return found


@pytest.fixture(autouse=True)
def module_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    def access(method: str, *, open_metrics: bool = False) -> Access:
        return Access.MODULE if method == METHOD else access_to(method, open_metrics=open_metrics)

    monkeypatch.setattr(gates, "access_to", access)


def gate(door: ModuleDoor, refused: list[Refusal], *, required: bool = True) -> Gate:
    return Gate(Keys(), refused.append, required=required, modules=door)


async def who(
    *metadata: tuple[str, str],
    peer: str = "ipv4:192.0.2.7:5000",
    door: ModuleDoor | None = None,
    required: bool = True,
    certificate: Sequence[bytes] | None = None,
) -> Principal | grpc.StatusCode:
    """Who is let in, or why nobody is."""

    async def behavior(request: object, context: object) -> Principal:
        return current_call.get().principal

    async def find(_: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(behavior)

    details: Any = type("Details", (), {"method": METHOD})
    context = FakeContext(list(metadata), caller=peer)
    if certificate is not None:
        context.auth = {"x509_pem_cert": [b"PEM"], "x509_common_name": certificate}
    edge = Edge(1, gate(door or ModuleDoor(LOOPBACK), [], required=required))
    handler: Any = await edge.intercept_service(find, details)
    try:
        found: Principal = await handler.unary_unary(b"", context)
    except grpc.aio.AbortError:
        assert context.code is not None
        return context.code
    return found


def key(secret: str) -> tuple[str, str]:
    return ("authorization", f"Bearer {secret}")


async def test_without_anything_nobody_gets_in() -> None:
    assert await who() is grpc.StatusCode.UNAUTHENTICATED
    assert await who(required=False) is grpc.StatusCode.UNAUTHENTICATED
    assert await who(key("unknown")) is grpc.StatusCode.UNAUTHENTICATED
    assert await who(key("slow")) is grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("required", [True, False])
async def test_only_the_role_module_is_one(*, required: bool) -> None:
    assert await who(key("module"), required=required) == MODULE
    assert await who(key("admin"), required=required) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:127.0.0.1:5000",
        "ipv4:127.9.9.9:5000",
        "ipv6:[::1]:5000",
        "ipv6:%5B::1%5D:5000",
        "ipv6:%5B::ffff:127.0.0.1%5D:5000",
        "ipv6:[::ffff:7f00:1]:5000",
    ],
)
async def test_loopback_is_enough_however_it_is_written(peer: str) -> None:
    found = await who(peer=peer)
    assert isinstance(found, Principal)
    assert found.role is Role.MODULE
    assert found.name.startswith("address ")


@pytest.mark.parametrize("secret", ["admin", "unknown", "slow"])
async def test_a_key_takes_nothing_away(secret: str) -> None:
    found = await who(key(secret), peer="ipv4:127.0.0.1:5000")
    assert isinstance(found, Principal)
    assert found.role is Role.MODULE


@pytest.mark.parametrize(
    "peer",
    [
        "ipv4:192.0.2.7:5000",
        "ipv6:[::2]:1",
        "unix:",
        "unix:/tmp/127.0.0.1",
        "",
        "ipv4:x:1",
        "vsock:1",
    ],
)
async def test_others_are_not(peer: str) -> None:
    assert await who(peer=peer) is grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    "mark",
    [
        ("x-forwarded-for", "127.0.0.1"),
        ("x-forwarded-proto", "http"),
        ("x-envoy-expected-rq-timeout-ms", "1"),
        ("forwarded", "for=127.0.0.1"),
        ("via", "1.1 proxy"),
    ],
)
async def test_what_a_proxy_passed_on_has_only_its_key(mark: tuple[str, str]) -> None:
    at_loopback = "ipv4:127.0.0.1:5000"
    assert await who(mark, peer=at_loopback) is grpc.StatusCode.UNAUTHENTICATED
    refused = await who(mark, peer=at_loopback, certificate=[b"envoy"])
    assert refused is grpc.StatusCode.UNAUTHENTICATED
    assert await who(mark, key("module"), peer=at_loopback) == MODULE


async def test_headers_make_nobody_a_module() -> None:
    for name in ("x-forwarded-for", "x-real-ip", "forwarded", "x-envoy-external-address"):
        assert await who((name, "127.0.0.1")) is grpc.StatusCode.UNAUTHENTICATED


async def test_rest_is_refused_with_a_key_too() -> None:
    at_loopback = "ipv4:127.0.0.1:5000"
    found = await who(REST, key("module"), peer=at_loopback, certificate=[b"nlb"])
    assert found is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("names", "certificate", "is_in"),
    [
        ((), [b"anything"], True),
        ((), [], True),
        (("nlb-*",), [b"nlb-1"], True),
        (("nlb-*",), [b"chat-client"], False),
        (("nlb-*",), [], False),
    ],
)
async def test_certificates_by_name(
    names: tuple[str, ...], certificate: Sequence[bytes], *, is_in: bool
) -> None:
    found = await who(door=ModuleDoor((), names), certificate=certificate)
    assert isinstance(found, Principal) is is_in


async def test_a_refusal_is_told_with_the_connections_address() -> None:
    refused: list[Refusal] = []

    async def find(_: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(lambda *_: None)

    details: Any = type("Details", (), {"method": METHOD})
    handler: Any = await Edge(1, gate(ModuleDoor(), refused)).intercept_service(find, details)
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_unary(b"", FakeContext([("x-forwarded-for", "127.0.0.1")]))
    assert [(r.problem, r.peer, r.method) for r in refused] == [("missing", "192.0.2.7", METHOD)]


def test_addresses() -> None:
    assert str(address_of("ipv6:%5Bfe80::1%25eth0%5D:50051")) == "fe80::1"
    assert str(address_of("ipv6:%5B::ffff:10.0.0.1%5D:1")) == "10.0.0.1"
    assert address_of("unix:@abstract") is None


@asynccontextmanager
async def serving(pems: Pems, door: ModuleDoor) -> AsyncIterator[str]:
    """A server by mTLS that answers METHOD with who called."""

    async def answer(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        seen = came(context, rest=False)
        return f"{current_call.get().principal.name} {seen.certificate}".encode()

    handlers = grpc.method_handlers_generic_handler(
        "marchproxy.ModuleService", {"GetStatus": grpc.unary_unary_rpc_method_handler(answer)}
    )
    certificate, private = pems.pair()
    files = TlsFiles(
        NamedFile("TLS_CERT_FILE", certificate),
        NamedFile("TLS_KEY_FILE", private),
        NamedFile("TLS_CLIENT_CA_FILE", pems.ca()),
    )
    register: Any = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731
    server = GrpcServer(Edge(10, gate(door, [])), (register,), max_calls=10)
    port = await server.start("127.0.0.1", 0, ServerTls(files).credentials())
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop()


async def asked(target: str, files: CallerFiles, *metadata: tuple[str, str]) -> str:
    async with grpc.aio.secure_channel(target, files.credentials()) as channel:
        call: Any = channel.unary_unary(METHOD)
        answer: bytes = await call(b"", metadata=metadata, timeout=10)
        return answer.decode()


async def test_a_real_certificate_is_enough_and_a_strangers_is_not(tmp_path: Path) -> None:
    pems = Pems(tmp_path)

    def files(pair: tuple[Path, Path]) -> CallerFiles:
        certificate, private = pair
        return CallerFiles(
            NamedFile("ca", pems.ca()), NamedFile("cert", certificate), NamedFile("key", private)
        )

    good = files(pems.pair("nlb", "nlb.internal"))
    stranger = files(pems.pair("stranger", "nlb.internal", authority=trustme.CA()))
    async with serving(pems, ModuleDoor((), ("nlb.*",))) as target:
        told = await asked(target, good)
        assert told.startswith("certificate ")
        assert "nlb.internal" in told
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked(target, good, ("x-forwarded-for", "127.0.0.1"))
        assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked(target, stranger)
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asked(target, CallerFiles(NamedFile("ca", pems.ca())))
        assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
