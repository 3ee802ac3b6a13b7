"""Who an instance is, wherever it is told, and how its process ends for the load balancer."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from ailb_server.app import VERSION
from marchproxy import module_pb2 as pb
from marchproxy import nlb_pb2
from tests.support.command import Ailb
from tests.support.module import ADMIN, say
from tests.support.nlb import TestNlb, client
from tests.support.otlp_collector import Collector
from tests.support.stack import free_port

ME = "ailb-blue-7"


class Process:
    """`ailb serve` with the demo provider, and ModuleService as the load balancer has it."""

    def __init__(self, ailb: Ailb, channel: grpc.aio.Channel, stub: Any) -> None:
        self.ailb = ailb
        self.channel = channel
        self._stub = stub

    async def call(self, request: Any) -> Any:
        name = type(request).__name__.removesuffix("Request")
        return await getattr(self._stub, name)(request, timeout=10)

    async def points(self, name: str) -> list[tuple[dict[str, str], float]]:
        metrics = (await self.call(pb.GetMetricsRequest(metric_names=[name]))).metrics.metrics
        return [(dict(one.labels), one.value) for one in metrics]

    def lines(self) -> list[dict[str, Any]]:
        found = (line for line in self.ailb.output.splitlines() if line.startswith("{"))
        return [json.loads(line) for line in found]


@pytest.fixture
async def nlb() -> AsyncIterator[TestNlb]:
    async with TestNlb() as started:
        yield started


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@contextlib.asynccontextmanager
async def serving(
    dsn: str, directory: Path, nlb: TestNlb, **more: object
) -> AsyncIterator[Process]:
    port = free_port()
    environment = {
        "DATABASE_URL": dsn,
        "GRPC_PORT": port,
        "DEMO_PROVIDER": "true",
        "ADMIN_API_KEY": ADMIN,
        "LOG_FORMAT": "json",
        "ACCESS_LOG_SAMPLE": 1,
        "MODULE_ID": ME,
        "NLB_ADDRESS": nlb.address,
        "NLB_HEARTBEAT_S": 0.2,
        **more,
    }
    with Ailb("serve", directory=directory, environment=environment) as ailb:
        await asyncio.to_thread(ailb.until, "serves on")
        channel, stub = client(f"127.0.0.1:{port}")
        async with channel:
            yield Process(ailb, channel, stub)


async def test_name_version_and_weight_are_told_everywhere(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb, collector: Collector
) -> None:
    told = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint}
    async with serving(migrated_dsn, tmp_path, nlb, **told) as server:
        await nlb.until(lambda: nlb.known)
        weight = pb.SetTrafficWeightRequest(version=VERSION, weight=30)
        assert (await server.call(weight)).success
        assert await say(server.channel, "demo")

        status = await server.call(pb.GetStatusRequest())
        me = status.instance
        assert (me.instance_id, me.version, me.traffic_weight) == (ME, VERSION, 30)
        assert status.details["weight"] == "30"

        await nlb.until(lambda: nlb.registrations[-1].instance.traffic_weight == 30)
        me = nlb.registrations[-1].instance
        assert (me.instance_id, me.version) == (ME, VERSION)

        info = await server.points("ailb_build_info")
        assert info == [({"module_id": ME, "version": VERSION}, 1)]
        assert await server.points("ailb_traffic_weight") == [({}, 30)]

        spans = collector.until(lambda told: any(_chat(span) for span in told))
        resource = collector.resources[-1]
        assert resource["service.instance.id"] == ME
        assert resource["service.version"] == VERSION
        (chat,) = [span for span in spans if _chat(span)]
        assert {a.key: a.value.int_value for a in chat.attributes}["ailb.traffic_weight"] == 30
    access = [line for line in server.lines() if line["logger"] == "ailb_server.access_log"]
    assert {line["module_id"] for line in server.lines()} == {ME}
    assert {line["version"] for line in server.lines()} == {VERSION}
    assert access[-1]["weight"] == 30


def _chat(span: Any) -> bool:
    return str(span.name).endswith("ChatService/StreamChatCompletion")


async def test_sigterm_takes_it_off_the_list_while_its_last_stream_runs(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb
) -> None:
    async with serving(migrated_dsn, tmp_path, nlb, DRAIN_TIMEOUT_S=20) as server:
        await nlb.beats()
        running = asyncio.create_task(say(server.channel, "demo", words=60, chunk_ms=50))

        def streams() -> bool:
            return nlb.heartbeats[-1].current_stats.custom_stats["active_streams"] == "1"

        await nlb.until(streams)
        server.ailb.interrupt()
        await nlb.until(lambda: nlb.of(nlb_pb2.UnregisterModuleRequest))
        assert not running.done()
        assert len((await running).split()) >= 60
        assert await asyncio.to_thread(server.ailb.ends) == 0
    (farewell,) = nlb.of(nlb_pb2.UnregisterModuleRequest)
    assert (farewell.instance_id, farewell.drain_timeout_seconds) == (ME, 20)
    assert farewell.graceful
