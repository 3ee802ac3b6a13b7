"""One Envoy, one stub and one HTTP client for all tests here, on one event loop."""

import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from ailb_server.local.envoy import EmbeddedEnvoy
from tests.e2e.envoy.stub import Stub, serve


@dataclass(frozen=True, slots=True)
class Edge:
    """Envoy on `port`, a client whose paths begin there, and the server behind."""

    port: int
    http: aiohttp.ClientSession
    stub: Stub

    @property
    def url(self) -> str:
        """For clients other than `http`."""
        return f"http://127.0.0.1:{self.port}"


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def envoy_for(*server_ports: int) -> AsyncIterator[aiohttp.ClientSession]:
    """An Envoy of one's own, and a client for it."""
    port = free_port()
    envoy = EmbeddedEnvoy(host="127.0.0.1", port=port, upstream_ports=server_ports, concurrency=1)
    await envoy.start()
    try:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            yield http
    finally:
        await envoy.stop()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_edge(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    """Lives as long as the session; tests ask for `edge`."""
    stub = Stub()
    server, server_port = await serve(stub)
    port = free_port()
    run_dir: Path = tmp_path_factory.mktemp("run of envoy")
    envoy = EmbeddedEnvoy(
        host="127.0.0.1", port=port, upstream_ports=(server_port,), run_dir=run_dir
    )
    await envoy.start()
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", auto_decompress=False) as http:
        yield Edge(port, http, stub)
    await envoy.stop()
    await server.stop(grace=None)
    # A grpc.aio server that is collected after its loop has ended raises; a failed test keeps one.
    del server
    gc.collect()
    assert "error" not in envoy.log.read_text().lower(), envoy.log.read_text()


@pytest.fixture
def edge(one_edge: Edge) -> Edge:
    """With plain answers, and nothing seen yet."""
    one_edge.stub.reset()
    return one_edge
