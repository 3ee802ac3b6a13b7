"""A demo provider per test, and the clients that drive it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from openai import AsyncOpenAI

from ailb_server.demo.received import Received
from ailb_server.demo.server import DemoServer


@pytest.fixture
def seen() -> list[Received]:
    """Every request the server has received, in order."""
    return []


@pytest.fixture
async def demo(seen: list[Received]) -> AsyncIterator[DemoServer]:
    """A server that is not started yet; `url` starts it."""
    server = DemoServer(
        observe=seen.append, clock=lambda: 1_750_000_000, models=["vendor/model:tag"]
    )
    yield server
    await server.stop()


@pytest.fixture
async def url(demo: DemoServer) -> str:
    """The base URL of the running server."""
    return await demo.start()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A plain HTTP client with a bound on everything."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
        yield session


@pytest.fixture
async def openai(url: str) -> AsyncIterator[AsyncOpenAI]:
    """The official SDK, pointed at the server."""
    async with AsyncOpenAI(api_key="any", base_url=url, max_retries=0, timeout=20) as client:
        yield client
