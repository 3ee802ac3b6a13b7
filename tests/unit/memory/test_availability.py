"""Down and up: found out once, told once."""

import asyncio
import logging

import pytest

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.memory.availability import Availability
from tests.unit.memory.watching import Watching


class Pinged:
    """A store that answers pings or does not."""

    def __init__(self) -> None:
        self.up = True
        self.pings = 0
        self.pinged = asyncio.Event()

    async def ping(self) -> None:
        self.pings += 1
        self.pinged.set()
        if not self.up:
            raise StorageUnavailableError("down")


async def test_a_failure_is_down_until_a_ping_succeeds(caplog: pytest.LogCaptureFixture) -> None:
    store, watching = Pinged(), Watching()
    availability = Availability(store.ping, watching, every_s=0.001)
    task = asyncio.create_task(availability.run())
    with caplog.at_level(logging.WARNING):
        store.up = False
        for _ in range(3):
            availability.failed()
            assert not availability.up
        while store.pings < 3:  # noqa: ASYNC110 - of a double, within moments
            await asyncio.sleep(0)
        assert not availability.up
        store.up = True
        await asyncio.wait_for(availability.wait_up(), 5)
    task.cancel()
    assert watching.states == [True, False, True]
    assert [record.getMessage()[:31] for record in caplog.records] == [
        "memory: the store is down; chat",
        "memory: the store is back",
    ]


async def test_suspicion_alone_is_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    store, watching = Pinged(), Watching()
    availability = Availability(store.ping, watching, every_s=0.001)
    task = asyncio.create_task(availability.run())
    availability.suspect()
    await asyncio.wait_for(store.pinged.wait(), 5)
    task.cancel()
    assert availability.up
    assert watching.states == [True]
    assert caplog.records == []
