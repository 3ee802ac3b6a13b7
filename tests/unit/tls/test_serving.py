"""Certificates that change while a server runs."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from ailb_server.api.edge import Edge
from ailb_server.server import GrpcServer
from ailb_server.tls.dialling import CallerFiles
from ailb_server.tls.files import NamedFile, TlsFileError, TlsFiles
from ailb_server.tls.serving import ServerTls
from tests.support.certificates import Pems

COUNT, PING = "/test.Test/Count", "/test.Test/Ping"


@dataclass
class Served:
    """A server on `target`; a stream goes on when `more` is put into."""

    target: str
    more: "asyncio.Queue[bytes]" = field(default_factory=asyncio.Queue)


@asynccontextmanager
async def serving(files: TlsFiles) -> AsyncIterator[Served]:
    served = Served("")

    async def count(request: bytes, context: Any) -> AsyncIterator[bytes]:
        while said := await served.more.get():
            yield said

    async def ping(request: bytes, context: Any) -> bytes:
        return b"pong"

    handlers = grpc.method_handlers_generic_handler(
        "test.Test",
        {
            "Count": grpc.unary_stream_rpc_method_handler(count),
            "Ping": grpc.unary_unary_rpc_method_handler(ping),
        },
    )
    register: Any = lambda server: server.add_generic_rpc_handlers((handlers,))  # noqa: E731
    server = GrpcServer(Edge(10), (register,), max_calls=10)
    port = await server.start("127.0.0.1", 0, ServerTls(files).credentials())
    served.target = f"127.0.0.1:{port}"
    try:
        yield served
    finally:
        await server.stop()


def named(pair: tuple[Path, Path], ca: Path | None = None) -> TlsFiles:
    client_ca = None if ca is None else NamedFile("TLS_CLIENT_CA_FILE", ca)
    return TlsFiles(
        NamedFile("TLS_CERT_FILE", pair[0]), NamedFile("TLS_KEY_FILE", pair[1]), client_ca
    )


def caller(ca: Path, pair: tuple[Path, Path] | None = None) -> CallerFiles:
    if pair is None:
        return CallerFiles(NamedFile("ca", ca))
    return CallerFiles(NamedFile("ca", ca), NamedFile("c", pair[0]), NamedFile("k", pair[1]))


def channel(served: Served, files: CallerFiles) -> grpc.aio.Channel:
    return grpc.aio.secure_channel(served.target, files.credentials())


async def answers(served: Served, files: CallerFiles) -> bool:
    """Whether a new connection gets an answer."""
    async with channel(served, files) as opened:
        ping: Any = opened.unary_unary(PING)
        try:
            return bool(await ping(b"", timeout=10) == b"pong")
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            return False


async def test_a_stream_goes_on_while_its_certificate_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pems, second = Pems(tmp_path), trustme.CA()
    files = named(pems.pair())
    old, new = caller(pems.ca()), caller(pems.ca(second, "second.pem"))
    caplog.set_level(logging.INFO)
    async with serving(files) as served, channel(served, old) as opened:
        stream: Any = opened.unary_stream(COUNT)
        call = stream(b"", timeout=30)
        await served.more.put(b"1")
        assert await call.read() == b"1"
        assert await answers(served, old)
        assert not await answers(served, new)

        # One file after the other: until both fit, the old pair serves, which is told once.
        fresh = pems.pair("fresh", authority=second)
        pems.put("server.key", fresh[1].read_bytes(), 0o600)
        for _ in range(3):
            assert await answers(served, old)
        told = [r.getMessage() for r in caplog.records if "stays in use" in r.getMessage()]
        assert len(told) == 1
        assert "TLS_KEY_FILE" in told[0]
        pems.put("server.pem", fresh[0].read_bytes())

        assert await answers(served, new)
        assert not await answers(served, old)
        # The stream and its connection are as they were.
        await served.more.put(b"2")
        assert await call.read() == b"2"
        ping: Any = opened.unary_unary(PING)
        assert await ping(b"", timeout=10) == b"pong"
        await served.more.put(b"")
        assert await call.read() is grpc.aio.EOF
    assert any("read anew" in record.getMessage() for record in caplog.records)


async def test_files_written_in_place_are_seen_and_missing_ones_are_borne(tmp_path: Path) -> None:
    pems, second = Pems(tmp_path), trustme.CA()
    certificate, key = pems.pair()
    old, new = caller(pems.ca()), caller(pems.ca(second, "second.pem"))
    async with serving(named((certificate, key))) as served:
        certificate.unlink()
        assert await answers(served, old)
        fresh = pems.pair("fresh", authority=second)
        certificate.write_bytes(fresh[0].read_bytes())
        key.write_bytes(fresh[1].read_bytes())
        assert await answers(served, new)


async def test_callers_show_a_certificate_where_an_authority_is_named(tmp_path: Path) -> None:
    pems, stranger = Pems(tmp_path), trustme.CA()
    ca = pems.ca()
    mine, theirs = pems.pair("mine"), pems.pair("theirs", authority=stranger)
    async with serving(named(pems.pair(), ca)) as served:
        assert await answers(served, caller(ca, mine))
        assert not await answers(served, caller(ca))
        assert not await answers(served, caller(ca, theirs))
        # The authority changes too.
        pems.put("ca.pem", stranger.cert_pem.bytes())
        root = pems.ca(pems.authority, "root.pem")
        assert await answers(served, caller(root, theirs))
        assert not await answers(served, caller(root, mine))


async def test_nothing_is_answered_in_the_clear(tmp_path: Path) -> None:
    async with (
        serving(named(Pems(tmp_path).pair())) as served,
        grpc.aio.insecure_channel(served.target) as opened,
    ):
        ping: Any = opened.unary_unary(PING)
        with pytest.raises(grpc.aio.AioRpcError):
            await ping(b"", timeout=5)


def test_a_bad_start_is_refused(tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    pair = pems.pair()
    pems.put("server.key", b"")
    with pytest.raises(TlsFileError, match="TLS_KEY_FILE"):
        ServerTls(named(pair))


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o640, False), (0o600, False)])
def test_a_key_for_all_to_read_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, *, told: bool
) -> None:
    pair = Pems(tmp_path).pair()
    pair[1].chmod(mode)
    ServerTls(named(pair))
    assert any("can read it" in r.getMessage() for r in caplog.records) is told
