"""`ailb serve` as a process: SIGHUP reloads it, Shutdown ends it with status 0."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ailb.v1 import api_key_pb2, api_key_service_pb2, api_key_service_pb2_grpc
from marchproxy import module_pb2 as pb
from marchproxy import module_pb2_grpc
from marchproxy import types_pb2 as types
from tests.support.command import Ailb
from tests.support.module import ADMIN, Json, demo, say, until
from tests.support.postgres import sql
from tests.support.stack import free_port


class Served:
    """`ailb serve` with a YAML file, and a channel to it."""

    def __init__(self, ailb: Ailb, file: Path, channel: grpc.aio.Channel, key: str) -> None:
        self.ailb = ailb
        self.channel = channel
        self._file = file
        self._metadata = (("authorization", f"Bearer {key}"),)
        self._stub: Any = module_pb2_grpc.ModuleServiceStub(channel)

    async def hang_up(self, file: str, until: str) -> None:
        """Changes the file and sends SIGHUP."""
        self._file.write_text(file)
        self.ailb.process.send_signal(signal.SIGHUP)
        await asyncio.to_thread(self.ailb.until, until)

    async def call(self, request: Any) -> Any:
        name = type(request).__name__.removesuffix("Request")
        return await getattr(self._stub, name)(request, metadata=self._metadata)

    async def streams(self) -> bool:
        stats = (await self.call(pb.GetStatsRequest())).stats
        return bool(stats.custom_stats["active_streams"] == "1")

    async def refuses(self) -> bool:
        """Whether new chats are refused."""
        try:
            await say(self.channel, "of-b")
        except grpc.aio.AioRpcError as error:
            code: grpc.StatusCode = error.code()
            return code is grpc.StatusCode.UNAVAILABLE
        return False


@contextlib.asynccontextmanager
async def served(dsn: str, directory: Path, file: str) -> AsyncIterator[Served]:
    place, port = directory / "ailb.yaml", free_port()
    place.write_text(file)
    environment = {
        "DATABASE_URL": dsn,
        "GRPC_PORT": port,
        "AILB_CONFIG": place,
        "ADMIN_API_KEY": ADMIN,
        "LOG_FORMAT": "text",
    }
    with Ailb("serve", directory=directory, environment=environment) as ailb:
        await asyncio.to_thread(ailb.until, "AILB 0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(ailb, place, channel, await module_key(channel))


def only(name: str, told: Json) -> str:
    return f"providers:\n- name: {name}\n  base_url: {told['base_url']}\n"


async def test_sighup_reloads_and_shutdown_ends_with_status_0(
    migrated_dsn: str, tmp_path: Path
) -> None:
    async with (
        demo("of-a") as (_, a),
        demo("of-b") as (_, b),
        served(migrated_dsn, tmp_path, only("a", a)) as server,
    ):
        await server.hang_up("providers: [{name: b", "is not valid YAML (line ")
        assert await say(server.channel, "of-a")
        await server.hang_up(only("b", b), "configuration 2 is in force, by SIGHUP")
        assert await say(server.channel, "of-b")
        # The stream that runs is let end, new calls are not taken.
        running = asyncio.create_task(say(server.channel, "of-b", words=60, chunk_ms=60))
        await until(server.streams)
        end = pb.ShutdownRequest(graceful=True, timeout_seconds=20)
        assert (await server.call(end)).success
        await until(server.refuses)
        status = await server.call(pb.GetStatusRequest())
        assert status.status == types.HEALTH_STATUS_STOPPING
        assert not running.done()
        assert len((await running).split()) >= 60
        assert await asyncio.to_thread(server.ailb.process.wait, 20) == 0
    # All that was told reached the store.
    assert sql(migrated_dsn, "SELECT count(*) FROM usage_ledger") == "3"
    assert sql(migrated_dsn, "SELECT count(*) FROM instances") == "0"
    told = "SELECT actor, outcome FROM audit_log WHERE action = 'config.reloaded' ORDER BY id"
    assert sql(migrated_dsn, told).splitlines() == ["SIGHUP|failed", "SIGHUP|ok"]


async def test_a_shutdown_that_is_not_graceful_is_soon(migrated_dsn: str, tmp_path: Path) -> None:
    async with (
        demo("of-a") as (_, a),
        served(migrated_dsn, tmp_path, only("a", a)) as server,
    ):
        running = asyncio.create_task(say(server.channel, "of-a", words=5000, chunk_ms=100))
        await until(server.streams)
        assert (await server.call(pb.ShutdownRequest())).success
        with pytest.raises(grpc.aio.AioRpcError):
            await running
        assert await asyncio.to_thread(server.ailb.process.wait, 20) == 0


async def module_key(channel: grpc.aio.Channel) -> str:
    keys: Any = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
    new = api_key_service_pb2.CreateApiKeyRequest(name="nlb", role=api_key_pb2.KEY_ROLE_MODULE)
    made = await keys.CreateApiKey(new, metadata=(("authorization", f"Bearer {ADMIN}"),))
    return str(made.secret)
