"""A double of AILB per test, and the client connected to it."""

from collections.abc import AsyncIterator

import pytest

import ailb_client
from tests.unit.client.double import AilbDouble


@pytest.fixture
async def double() -> AsyncIterator[AilbDouble]:
    """Not started yet; `target` starts it."""
    double = AilbDouble()
    yield double
    await double.stop()


@pytest.fixture
async def target(double: AilbDouble) -> str:
    """Where the double listens."""
    return await double.start()


@pytest.fixture
async def ailb(target: str) -> AsyncIterator[ailb_client.Client]:
    """A client without a key."""
    async with ailb_client.connect(target) as client:
        yield client
