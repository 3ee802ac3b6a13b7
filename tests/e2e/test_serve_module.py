"""`ailb serve` as a process: SIGHUP reloads it, Shutdown ends it with status 0."""

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import grpc
import pytest

from ailb.v1 import api_key_pb2, api_key_service_pb2, api_key_service_pb2_grpc
from marchproxy import module_pb2 as pb
from marchproxy import module_pb2_grpc
from marchproxy import types_pb2 as types
from tests.support.command import Ailb
from tests.support.module import ADMIN, demo, say, until
from tests.support.postgres import sql
from tests.support.stack import free_port


async def test_sighup_reloads_and_shutdown_ends_with_status_0(
    migrated_dsn: str, tmp_path: Path
) -> None:
    file = tmp_path / "ailb.yaml"
    port = free_port()
    environment = {
        "DATABASE_URL": migrated_dsn,
        "GRPC_PORT": port,
        "AILB_CONFIG": file,
        "ADMIN_API_KEY": ADMIN,
        "LOG_FORMAT": "text",
    }
    async with demo("of-a") as (_, a), demo("of-b") as (_, b):
        file.write_text(f"providers:\n- name: a\n  base_url: {a['base_url']}\n")
        with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
            await asyncio.to_thread(ailb.until, "AILB 0")
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                metadata = (("authorization", f"Bearer {await module_key(channel)}"),)
                module: Any = module_pb2_grpc.ModuleServiceStub(channel)
                file.write_text(f"providers: [{{name: b, base_url: '{b['base_url']}'")
                ailb.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(ailb.until, "is not valid YAML (line ")
                assert await say(channel, "of-a")
                file.write_text(f"providers:\n- name: b\n  base_url: {b['base_url']}\n")
                ailb.process.send_signal(signal.SIGHUP)
                await asyncio.to_thread(ailb.until, "configuration 2 is in force, by SIGHUP")
                assert await say(channel, "of-b")
                # The stream that runs is let end, new calls are not taken.
                running = asyncio.create_task(say(channel, "of-b", words=40, chunk_ms=40))

                async def runs() -> bool:
                    stats = await module.GetStats(pb.GetStatsRequest(), metadata=metadata)
                    return bool(stats.stats.custom_stats["active_streams"] == "1")

                await until(runs)
                end = pb.ShutdownRequest(graceful=True, timeout_seconds=20)
                assert (await module.Shutdown(end, metadata=metadata)).success
                await until(lambda: refused(channel))
                status = await module.GetStatus(pb.GetStatusRequest(), metadata=metadata)
                assert status.status == types.HEALTH_STATUS_STOPPING
                assert not running.done()
                assert len((await running).split()) >= 40
            assert await asyncio.to_thread(ailb.process.wait, 20) == 0
    # All that was told reached the store: the ledger's journal is empty.
    assert sql(migrated_dsn, "SELECT count(*) FROM usage_ledger") == "3"
    assert sql(migrated_dsn, "SELECT count(*) FROM instances") == "0"
    told = "SELECT actor, outcome FROM audit_log WHERE action = 'config.reloaded' ORDER BY id"
    assert sql(migrated_dsn, told).splitlines() == ["SIGHUP|failed", "SIGHUP|ok"]


async def test_a_shutdown_that_is_not_graceful_is_soon(migrated_dsn: str, tmp_path: Path) -> None:
    port = free_port()
    environment = {
        "DATABASE_URL": migrated_dsn,
        "GRPC_PORT": port,
        "ADMIN_API_KEY": ADMIN,
        "DEMO_PROVIDER": "true",
        "LOG_FORMAT": "text",
    }
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        await asyncio.to_thread(ailb.until, "AILB 0")
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            metadata = (("authorization", f"Bearer {await module_key(channel)}"),)
            module: Any = module_pb2_grpc.ModuleServiceStub(channel)
            running = asyncio.create_task(say(channel, "demo", words=5000, chunk_ms=100))
            await asyncio.sleep(0)
            assert (await module.Shutdown(pb.ShutdownRequest(), metadata=metadata)).success
            with contextlib.suppress(grpc.aio.AioRpcError):
                await running
            with pytest.raises(grpc.aio.AioRpcError):
                running.result()
        assert await asyncio.to_thread(ailb.process.wait, 20) == 0


async def module_key(channel: grpc.aio.Channel) -> str:
    keys: Any = api_key_service_pb2_grpc.ApiKeyServiceStub(channel)
    new = api_key_service_pb2.CreateApiKeyRequest(name="nlb", role=api_key_pb2.KEY_ROLE_MODULE)
    made = await keys.CreateApiKey(new, metadata=(("authorization", f"Bearer {ADMIN}"),))
    return str(made.secret)


async def refused(channel: grpc.aio.Channel) -> bool:
    """Whether new chats are."""
    try:
        await say(channel, "of-b")
    except grpc.aio.AioRpcError as error:
        code: grpc.StatusCode = error.code()
        return code is grpc.StatusCode.UNAVAILABLE
    return False
