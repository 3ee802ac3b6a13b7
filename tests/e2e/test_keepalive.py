"""The load balancer pings every 10 s, without calls too, and is never sent away."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from marchproxy import module_pb2 as pb
from tests.support.frames import GOAWAY, PING, Relay
from tests.support.module import ModuleInstance, demo
from tests.support.nlb import CLIENT_OPTIONS, client

LONG = "AILB_TEST_LONG"


@pytest.fixture
async def relay(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Relay]:
    """In front of an instance."""
    async with demo("demo") as (_, first):
        instance = ModuleInstance(migrated_dsn, tmp_path)
        instance.write({"providers": [{"name": "first", **first}]})
        async with instance, Relay(instance.address) as started:
            yield started


async def status(stub: Any) -> str:
    """As the load balancer itself asks: without a key, from this machine."""
    answer = await stub.GetStatus(pb.GetStatusRequest(), timeout=10)
    return str(answer.instance.instance_id)


async def test_pings_without_calls_are_answered_however_many(relay: Relay) -> None:
    """Raw: gRPC's clients ping every 10 s at most, and the rule counts pings, not minutes."""
    host, _, port = relay.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    for number in range(1, 41):
        writer.write(b"\0\0\x08\6\0\0\0\0\0" + number.to_bytes(8, "big"))
        async with asyncio.timeout(10):
            while relay.answered[PING, True] < number:
                assert not relay.answered[GOAWAY, False]
                await asyncio.sleep(0.005)
    assert not relay.answered[GOAWAY, False]
    writer.close()


@pytest.mark.skipif(LONG not in os.environ, reason=f"two minutes: set {LONG}")
@pytest.mark.timeout(200)
async def test_two_minutes_without_calls(relay: Relay) -> None:
    """With gRPC's own client, by the load balancer's own options."""
    assert dict(CLIENT_OPTIONS)["grpc.keepalive_time_ms"] == 10_000
    channel, stub = client(relay.address)
    async with channel:
        assert await status(stub) == "ailb-1"
        calm = relay.asked[PING, False]
        await asyncio.sleep(120)
        assert relay.asked[PING, False] - calm >= 10
        assert not relay.answered[GOAWAY, False]
        assert await status(stub) == "ailb-1"
        assert relay.connections == 1
