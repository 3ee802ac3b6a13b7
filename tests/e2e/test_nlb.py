"""The instance at MarchProxy's load balancer: registered, heard from, obedient, gone in time."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from ailb_server.marchproxy import registration
from marchproxy import module_pb2 as module
from marchproxy import nlb_pb2 as pb
from marchproxy import types_pb2 as types
from tests.support.certificates import Pems
from tests.support.module import ModuleInstance, demo, until
from tests.support.nlb import TestNlb

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
async def nlb() -> AsyncIterator[TestNlb]:
    async with TestNlb() as started:
        yield started


@pytest.fixture
async def instance(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb
) -> AsyncIterator[ModuleInstance]:
    async with demo("demo") as (_, first), at(migrated_dsn, tmp_path, nlb, first) as started:
        yield started


def at(dsn: str, directory: Path, nlb: TestNlb, first: Any, **more: object) -> ModuleInstance:
    """Not started yet."""
    told = {
        "NLB_ADDRESS": nlb.address,
        "NLB_HEARTBEAT_S": 0.2,
        "MODULE_ID": "ailb-7",
        "DRAIN_TIMEOUT_S": 60,
        **more,
    }
    instance = ModuleInstance(dsn, directory, **told)
    instance.write({"providers": [{"name": "first", **first}]})
    return instance


def metric(instance: ModuleInstance, name: str, **labels: str) -> float:
    value = instance.gateway.metrics.registry.get_sample_value(name, labels)
    assert value is not None, name
    return value


def heartbeats(instance: ModuleInstance, outcome: str) -> float:
    return metric(instance, "ailb_nlb_heartbeats_total", outcome=outcome)


def registrations(instance: ModuleInstance, outcome: str) -> float:
    return metric(instance, "ailb_nlb_registrations_total", outcome=outcome)


async def health(instance: ModuleInstance) -> int:
    stub: Any = health_pb2_grpc.HealthStub(instance.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    return int(answer.status)


async def test_what_a_registration_tells(instance: ModuleInstance, nlb: TestNlb) -> None:
    await nlb.until(lambda: nlb.known)
    told = nlb.registrations[0]
    me = told.instance
    assert (me.instance_id, me.module_type) == ("ailb-7", types.MODULE_TYPE_AILB)
    assert me.address == instance.address
    assert me.health_status == types.HEALTH_STATUS_HEALTHY
    assert (me.traffic_weight, me.max_connections) == (100, 1000)
    assert me.metadata["config_checksum"]
    assert abs(me.started_at.seconds - time.time()) < 60
    status = (await instance.call(module.GetStatusRequest())).instance
    assert (status.version, status.started_at) == (me.version, me.started_at)
    (face,) = told.initial_routes
    assert (face.protocol, face.destination_pattern) == (types.PROTOCOL_GRPC, me.address)
    assert face.destination_port == told.health_config.health_check_port
    assert told.health_config.health_check_protocol == types.PROTOCOL_GRPC
    assert told.health_config.health_check_path == "/grpc.health.v1.Health/Check"
    assert told.capabilities["streaming"] == "true"


async def test_where_it_is_reached_is_a_setting(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb
) -> None:
    told = {"MODULE_ADDRESS": "ailb-7.example", "MODULE_REST_ADDRESS": "envoy.example:8080"}
    async with (
        demo("demo") as (_, first),
        at(migrated_dsn, tmp_path, nlb, first, **told) as instance,
    ):
        await nlb.until(lambda: nlb.known)
        port = instance.address.rpartition(":")[2]
        me = nlb.registrations[0]
        assert me.instance.address == f"ailb-7.example:{port}"
        rest = me.initial_routes[-1]
        assert (rest.protocol, rest.path_pattern) == (types.PROTOCOL_HTTP, "/v1/*")
        assert (rest.destination_pattern, rest.destination_port) == (
            "envoy.example:8080",
            8080,
        )


async def test_heartbeats_tell_true_figures(instance: ModuleInstance, nlb: TestNlb) -> None:
    assert (await nlb.beats()).current_stats.total_requests == 0
    for _ in range(3):
        await instance.say()
    with pytest.raises(grpc.aio.AioRpcError):
        await instance.say("no-such-model")
    running = asyncio.create_task(instance.say(words=200, chunk_ms=50))
    beat = nlb.heartbeats[-1]

    def counted() -> bool:
        nonlocal beat
        beat = nlb.heartbeats[-1]
        return beat.current_stats.custom_stats["active_streams"] == "1"

    await nlb.until(counted)
    running.cancel()
    stats = beat.current_stats
    own = (await instance.call(module.GetStatsRequest())).stats
    assert (stats.successful_requests, stats.failed_requests) == (3, 1)
    assert (stats.total_requests, own.total_requests) == (5, 5)
    assert stats.p50_latency_ms > 0
    assert stats.memory_usage_mb > 10
    assert stats.since == own.since
    assert beat.instance_id == stats.instance_id == "ailb-7"
    assert beat.registration_id == "r-1"
    assert beat.status == types.HEALTH_STATUS_HEALTHY
    assert abs(beat.timestamp.seconds - time.time()) < 60


async def test_a_reload_that_it_asks_for_changes_who_is_asked(
    instance: ModuleInstance, nlb: TestNlb, caplog: pytest.LogCaptureFixture
) -> None:
    await nlb.beats()
    async with demo("other") as (_, other):
        instance.write({"providers": [{"name": "second", **other}]})
        nlb.script.answers.append(pb.HeartbeatResponse(should_reload=True))
        await until(lambda: answers(instance, "other"))
    instance.write("providers: [{name: b")
    orders = {"reload": "true", "dance": "now", "heartbeat_interval_seconds": "0"}
    with caplog.at_level("WARNING", "ailb_server"):
        nlb.script.answers += [pb.HeartbeatResponse(instructions=orders, should_scale=True)] * 3

        async def refused() -> bool:
            details = (await instance.call(module.GetStatusRequest())).details
            return bool(details["config_problem"])

        await until(refused)
        await nlb.until(lambda: not nlb.script.answers)
        await nlb.beats(2)
    # What was good stays; what is left undone is told once each.
    undone = [r.getMessage() for r in caplog.records if "left undone" in r.getMessage()]
    named = sorted(line.split("'")[1] for line in undone)
    assert named == ["dance", "heartbeat_interval_seconds", "should_scale"]
    assert len(nlb.registrations) == 1


async def answers(instance: ModuleInstance, model: str) -> bool:
    try:
        return bool(await instance.say(model))
    except grpc.aio.AioRpcError:
        return False


@pytest.mark.parametrize("by_status", [True, False], ids=["NOT_FOUND", "not acknowledged"])
async def test_who_is_not_known_any_more_registers_again(
    instance: ModuleInstance,
    nlb: TestNlb,
    by_status: bool,  # noqa: FBT001
) -> None:
    nlb.script.by_status = by_status
    await nlb.beats()
    nlb.known.clear()
    await nlb.until(lambda: nlb.known)
    assert list(nlb.known) == ["r-2"]
    assert (await nlb.beats(2)).registration_id == "r-2"
    assert heartbeats(instance, "unknown") == 1
    assert metric(instance, "ailb_nlb_registered") == 1


async def test_it_outlives_a_restart_of_the_load_balancer(
    instance: ModuleInstance, nlb: TestNlb, caplog: pytest.LogCaptureFixture
) -> None:
    await nlb.beats(2)
    with caplog.at_level("INFO", "ailb_server.marchproxy"):
        await nlb.kill()
        await nlb.until(lambda: metric(instance, "ailb_nlb_registered") == 0)
        assert await instance.say()
        await nlb.until(lambda: registrations(instance, "away") >= 1)
        await nlb.start()
        await nlb.until(lambda: nlb.known)
        await nlb.beats()
    own = [r for r in caplog.records if r.name.startswith("ailb_server.marchproxy")]
    lines = [record.getMessage() for record in own]
    # One for each change, however many tries there were.
    assert [line.split(" at ")[0] for line in lines] == ["not registered", "registered"], lines
    assert metric(instance, "ailb_nlb_registered") == 1
    last = metric(instance, "ailb_nlb_last_heartbeat_timestamp_seconds")
    assert abs(last - time.time()) < 30


async def test_some_heartbeats_that_fail_change_nothing(
    instance: ModuleInstance, nlb: TestNlb
) -> None:
    await nlb.beats()
    nlb.script.fail_heartbeats = 2
    before = heartbeats(instance, "ok")
    await nlb.until(lambda: heartbeats(instance, "ok") > before + 2)
    assert len(nlb.registrations) == 1
    assert heartbeats(instance, "refused") == 2


async def test_new_routes_and_weights_are_told(instance: ModuleInstance, nlb: TestNlb) -> None:
    await nlb.beats()
    route = types.Route(route_id="r", source_pattern="assistant*", destination_pattern="first/demo")
    assert (await instance.call(module.UpdateRoutesRequest(routes=[route]))).success
    await nlb.until(lambda: len(nlb.registrations) == 2)
    told = [one.route_id for one in nlb.registrations[-1].initial_routes]
    assert told == ["r", "ailb-7.grpc"]
    version = nlb.registrations[0].instance.version
    weight = module.SetTrafficWeightRequest(version=version, weight=40)
    assert (await instance.call(weight)).success
    await nlb.until(lambda: len(nlb.registrations) == 3)
    assert nlb.registrations[-1].instance.traffic_weight == 40
    # It knew us all the while, and nothing else is told again.
    assert not nlb.of(pb.UnregisterModuleRequest)
    await nlb.beats(2)
    assert len(nlb.registrations) == 3


async def test_a_load_balancer_that_replaces_nobody(instance: ModuleInstance, nlb: TestNlb) -> None:
    nlb.script.exclusive = True
    await nlb.beats()
    version = nlb.registrations[0].instance.version
    weight = module.SetTrafficWeightRequest(version=version, weight=10)
    assert (await instance.call(weight)).success
    await nlb.until(lambda: list(nlb.known) == ["r-2"])
    assert nlb.known["r-2"].instance.traffic_weight == 10
    (farewell,) = nlb.of(pb.UnregisterModuleRequest)
    assert (farewell.registration_id, farewell.graceful) == ("r-1", False)
    assert (await nlb.beats(2)).registration_id == "r-2"


async def test_what_it_will_not_take_leaves_us_registered_as_we_were(
    instance: ModuleInstance, nlb: TestNlb
) -> None:
    await nlb.beats()
    version = nlb.registrations[0].instance.version
    nlb.script.refuse_registrations = 3
    weight = module.SetTrafficWeightRequest(version=version, weight=10)
    assert (await instance.call(weight)).success
    await nlb.until(lambda: registrations(instance, "refused") == 2)
    assert metric(instance, "ailb_nlb_registered") == 1
    assert (await nlb.beats()).registration_id == "r-1"
    await nlb.until(lambda: "r-2" in nlb.known)
    assert nlb.known["r-2"].instance.traffic_weight == 10


async def test_instructions_for_heartbeats(instance: ModuleInstance, nlb: TestNlb) -> None:
    await nlb.beats()
    nlb.script.answers.append(pb.HeartbeatResponse(instructions={"reregister": "true"}))
    await nlb.until(lambda: len(nlb.registrations) == 2)
    assert (await nlb.beats(2)).registration_id == "r-2"
    orders = {"heartbeat_interval_seconds": "3600"}
    nlb.script.answers.append(pb.HeartbeatResponse(instructions=orders))
    await nlb.until(lambda: not nlb.script.answers)
    seen = len(nlb.heartbeats)
    # Three times as long as it took before.
    await asyncio.sleep(0.6)
    assert len(nlb.heartbeats) == seen


async def test_it_leaves_before_the_last_stream_ends_and_while_calls_are_taken(
    instance: ModuleInstance, nlb: TestNlb, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is looked at meanwhile may take its time here.
    monkeypatch.setattr(registration, "LEAVE_S", 30.0)
    seen: list[object] = []

    async def watch() -> None:
        seen.extend([await health(instance), await answers(instance, "demo"), running.done()])

    nlb.on_unregister = watch
    await nlb.beats()
    assert await health(instance) == SERVING
    running = asyncio.create_task(instance.say(words=40, chunk_ms=100))

    async def runs() -> bool:
        stats = (await instance.call(module.GetStatsRequest())).stats
        return bool(stats.custom_stats["active_streams"] == "1")

    await until(runs)
    await instance.gateway.drain()
    assert len((await running).split()) >= 40
    assert seen == [NOT_SERVING, True, False]
    (farewell,) = nlb.of(pb.UnregisterModuleRequest)
    assert (farewell.instance_id, farewell.registration_id) == ("ailb-7", "r-1")
    assert (farewell.graceful, farewell.drain_timeout_seconds) == (True, 60)
    # Nothing comes after it.
    assert nlb.calls[-1] == farewell
    await instance.close()
    assert nlb.calls[-1] == farewell
    assert not nlb.known


async def test_a_load_balancer_that_comes_late(migrated_dsn: str, tmp_path: Path) -> None:
    nlb = TestNlb()
    await nlb.start()
    await nlb.kill()
    async with (
        demo("demo") as (_, first),
        at(migrated_dsn, tmp_path, nlb, first) as instance,
    ):
        assert await instance.say()
        assert metric(instance, "ailb_nlb_registered") == 0
        async with nlb:
            await nlb.until(lambda: nlb.known)
            await nlb.beats()
            assert metric(instance, "ailb_nlb_registered") == 1


async def test_a_slow_load_balancer_holds_up_nobody(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb
) -> None:
    nlb.script.delay_s = 600
    async with (
        demo("demo") as (_, first),
        at(migrated_dsn, tmp_path, nlb, first, NLB_TIMEOUT_S=300) as instance,
    ):
        await nlb.until(lambda: nlb.registrations)
        assert await instance.say()
        assert await health(instance) == SERVING
        async with asyncio.timeout(15):
            await instance.gateway.drain()
            await instance.close()
    # It may have registered us before it answers: it is told.
    (farewell,) = nlb.of(pb.UnregisterModuleRequest)
    assert farewell.instance_id == "ailb-7"


async def test_a_refused_registration_is_tried_again_with_pauses(
    migrated_dsn: str, tmp_path: Path, nlb: TestNlb
) -> None:
    nlb.script.refuse_registrations = 2
    async with (
        demo("demo") as (_, first),
        at(migrated_dsn, tmp_path, nlb, first) as instance,
    ):
        await nlb.until(lambda: nlb.known)
        assert len(nlb.registrations) == 3
        await nlb.beats()
        assert registrations(instance, "refused") == 2


async def test_by_tls_with_certificates_of_both_sides(migrated_dsn: str, tmp_path: Path) -> None:
    pems = Pems(tmp_path)
    ca, (chain, key) = pems.ca(), pems.pair("nlb")
    own, own_key = pems.pair("ailb")
    credentials = grpc.ssl_server_credentials(
        [(key.read_bytes(), chain.read_bytes())],
        ca.read_bytes(),
        require_client_auth=True,
    )
    told = {
        "NLB_TLS": "true",
        "NLB_TLS_CA_FILE": ca,
        "NLB_TLS_CERT_FILE": own,
        "NLB_TLS_KEY_FILE": own_key,
    }
    async with (
        TestNlb(credentials) as nlb,
        demo("demo") as (_, first),
        at(migrated_dsn, tmp_path, nlb, first, **told),
    ):
        await nlb.beats()
        assert nlb.known
