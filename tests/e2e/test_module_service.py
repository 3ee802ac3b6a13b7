"""What MarchProxy's load balancer calls, with assertions on what comes of it."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from marchproxy import module_pb2 as pb
from marchproxy import types_pb2 as types
from tests.support.module import ModuleInstance, demo, until
from tests.support.postgres import sql


@pytest.fixture
async def instance(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[ModuleInstance]:
    """With one upstream `first`, whose model is `demo`."""
    async with demo("demo") as (_, first):
        started = ModuleInstance(migrated_dsn, tmp_path)
        started.write({"providers": [{"name": "first", **first}], "aliases": {"smart": ["demo"]}})
        async with started:
            yield started


async def code(work: Any) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await work
    return failed.value.code()


async def point(instance: ModuleInstance, name: str) -> float:
    metrics = (await instance.call(pb.GetMetricsRequest(metric_names=[name]))).metrics
    (found,) = [one.value for one in metrics.metrics]
    return float(found)


async def test_only_a_key_of_the_role_module_may_call(instance: ModuleInstance) -> None:
    instance.key, module = "sk-admin-for-the-tests-of-modules", instance.key
    assert await code(instance.call(pb.GetStatusRequest())) is grpc.StatusCode.PERMISSION_DENIED
    instance.key = module
    assert (await instance.call(pb.GetStatusRequest())).status == types.HEALTH_STATUS_HEALTHY


async def test_status_tells_who_it_is_and_what_is_wrong(
    instance: ModuleInstance, migrated_dsn: str
) -> None:
    status = await instance.call(pb.GetStatusRequest(instance_id="ailb-1"))
    me = status.instance
    assert (me.instance_id, me.module_type) == ("ailb-1", types.MODULE_TYPE_AILB)
    assert me.address == instance.address
    assert (me.traffic_weight, me.max_connections) == (100, 1000)
    assert status.details["version"] == me.version != ""
    assert status.details["config_version"] == "1"
    assert abs(me.started_at.seconds - time.time()) < 60
    stopped = await instance.call(pb.GetStatusRequest())
    assert stopped.message == "healthy"


async def test_another_instances_name_is_told_where_that_is(
    instance: ModuleInstance, migrated_dsn: str, tmp_path: Path
) -> None:
    other = ModuleInstance(migrated_dsn, tmp_path, MODULE_ID="ailb-2")
    other.write(instance.yaml.read_text())
    async with other:
        request = pb.GetStatusRequest(instance_id="ailb-2")

        async def told() -> bool:
            with pytest.raises(grpc.aio.AioRpcError) as failed:
                await instance.call(request)
            assert failed.value.code() is grpc.StatusCode.NOT_FOUND
            return f"ask `ailb-2` at {other.address}" in str(failed.value.details())

        await until(told)
    # Of what changes something the answer itself tells it.
    answer = await instance.call(pb.ReloadRequest(instance_id="ailb-2"))
    assert (answer.success, answer.error.code) == (False, types.STATUS_CODE_NOT_FOUND)
    assert "no other of the name lives" in answer.error.message
    assert (await instance.call(pb.GetStatusRequest())).details["config_version"] == "1"


async def test_a_deep_check_asks_for_listings_and_never_for_a_chat(
    migrated_dsn: str, tmp_path: Path
) -> None:
    async with demo("demo") as (upstream, told):
        upstream.server.behave({"status": 500})
        instance = ModuleInstance(migrated_dsn, tmp_path, PROVIDER_REFRESH_S=3600)
        instance.write({"providers": [{"name": "first", **told}]})
        async with instance:
            flat = await instance.call(pb.HealthCheckRequest())
            assert flat.status == types.HEALTH_STATUS_UNHEALTHY
            assert flat.checks["provider:first"].startswith("down: ")
            assert flat.checks["store"] == "ok"
            assert "disk" not in flat.checks
            upstream.server.behave({})
            deep = await instance.call(pb.HealthCheckRequest(deep_check=True))
            assert deep.status == types.HEALTH_STATUS_HEALTHY
            assert deep.checks["provider:first"] == deep.checks["disk"] == "ok"
            assert {one.path for one in upstream.received} == {"/v1/models"}
            for _ in range(6):
                with pytest.raises(grpc.aio.AioRpcError):
                    await instance.say("first/demo", status=500)
            asked = len(upstream.chats())
            deep = await instance.call(pb.HealthCheckRequest(deep_check=True))
            assert deep.checks["target:first/demo"].startswith("open after ")
            assert deep.checks["provider:first"].startswith("down: ")
            assert len(upstream.chats()) == asked


async def test_stats_count_and_are_reset_for_this_service_only(instance: ModuleInstance) -> None:
    before = (await instance.call(pb.GetStatsRequest())).stats
    await instance.say()
    await instance.say()
    assert await code(instance.say("no-such-model")) is grpc.StatusCode.NOT_FOUND
    stats = (await instance.call(pb.GetStatsRequest(reset_counters=True))).stats
    assert stats.successful_requests - before.successful_requests == 2
    assert stats.failed_requests - before.failed_requests == 1
    assert stats.total_requests >= 3
    assert 0 < stats.p50_latency_ms <= stats.p99_latency_ms
    assert stats.memory_usage_mb > 10
    assert stats.bytes_sent > 0
    after = (await instance.call(pb.GetStatsRequest())).stats
    assert (after.total_requests, after.successful_requests) == (0, 0)
    assert after.since.ToNanoseconds() > stats.since.ToNanoseconds()
    metrics = await instance.call(pb.GetMetricsRequest(metric_names=["ailb_requests_total"]))
    assert sum(one.value for one in metrics.metrics.metrics) >= 2


async def test_metrics_by_name_and_only_of_now(instance: ModuleInstance) -> None:
    await instance.say()
    names = ["requests_per_second", "p99_latency_ms", "ailb_requests_total"]
    metrics = (await instance.call(pb.GetMetricsRequest(metric_names=names))).metrics
    assert {one.name for one in metrics.metrics} == set(names)
    requests = next(one for one in metrics.metrics if one.name == "ailb_requests_total")
    assert requests.labels["provider"] == "first"
    everything = (await instance.call(pb.GetMetricsRequest())).metrics.metrics
    assert {"cpu_usage_percent", "active_connections"} <= {one.name for one in everything}
    assert not any(one.name.endswith("_bucket") for one in everything)
    now, past = Timestamp(), Timestamp(seconds=int(time.time()) - 3600)
    now.GetCurrentTime()
    around = pb.GetMetricsRequest(start_time=past, end_time=now)
    assert (await instance.call(around)).metrics.metrics
    bygone = pb.GetMetricsRequest(end_time=past)
    assert await code(instance.call(bygone)) is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_stream_of_metrics_is_of_its_interval_and_ends_with_the_drain(
    instance: ModuleInstance,
) -> None:
    for seconds in (-1, 3601):
        bad = instance.stream(pb.StreamMetricsRequest(interval_seconds=seconds))
        assert await code(bad.read()) is grpc.StatusCode.INVALID_ARGUMENT
    stream = instance.stream(
        pb.StreamMetricsRequest(interval_seconds=1, metric_names=["ailb_active_chats"])
    )
    first, second = await stream.read(), await stream.read()
    assert 0.5 < second.timestamp.ToNanoseconds() / 1e9 - first.timestamp.ToNanoseconds() / 1e9 < 5
    assert [one.name for one in second.metrics.metrics] == ["ailb_active_chats"]
    # A caller who leaves frees its place.
    calls = await point(instance, "active_connections")
    stream.cancel()
    idle = instance.stream(pb.StreamMetricsRequest(interval_seconds=3600))
    await idle.read()
    drain = asyncio.create_task(instance.gateway.drain())
    assert await idle.read() is grpc.aio.EOF
    await drain
    assert calls >= 1
    # Draining, it still says how it is, and takes no changes.
    assert (await instance.call(pb.GetStatusRequest())).status == types.HEALTH_STATUS_STOPPING
    assert await code(instance.call(pb.ReloadRequest())) is grpc.StatusCode.UNAVAILABLE


async def test_instances_by_their_heartbeats(
    instance: ModuleInstance, migrated_dsn: str, tmp_path: Path
) -> None:
    other = ModuleInstance(migrated_dsn, tmp_path, MODULE_ID="ailb-2")
    other.write(instance.yaml.read_text())
    async with other:

        async def both() -> bool:
            found = (await instance.call(pb.GetInstancesRequest())).instances
            return [one.instance_id for one in found] == ["ailb-1", "ailb-2"]

        await until(both)
        sql(
            migrated_dsn,
            "UPDATE instances SET heartbeat_at = now() - interval '20 s',"
            " boot = gen_random_uuid(), module_id = 'dead' WHERE module_id = 'ailb-2'",
        )
        found = (await instance.call(pb.GetInstancesRequest())).instances
        states = {one.instance_id: one.health_status for one in found}
        assert states["dead"] == types.HEALTH_STATUS_UNHEALTHY
        assert states["ailb-1"] == types.HEALTH_STATUS_HEALTHY
        healthy = pb.GetInstancesRequest(status_filter=types.HEALTH_STATUS_HEALTHY)
        told = await instance.call(healthy)
        assert "dead" not in [one.instance_id for one in told.instances]
        assert told.total_instances == len(told.instances)
        rtmp = pb.GetInstancesRequest(module_type=types.MODULE_TYPE_RTMP)
        assert not (await instance.call(rtmp)).instances
    # Who ends leaves the list.
    rows = sql(migrated_dsn, "SELECT count(*) FROM instances WHERE module_id = 'ailb-2'")
    assert rows == "0"


async def test_a_wish_to_scale_is_recorded_and_honestly_answered(
    instance: ModuleInstance, migrated_dsn: str
) -> None:
    config = types.ScalingConfig(min_instances=3, max_instances=5, target_cpu_percent=70)
    answer = await instance.call(pb.ScaleRequest(config=config))
    assert answer.success
    assert (answer.current_instances, answer.desired_instances) == (1, 3)
    assert "starts and stops no machines" in answer.message
    wished = "SELECT min_instances, max_instances, details->>'target_cpu_percent' FROM scale_wish"
    assert sql(migrated_dsn, wished) == "3|5|70"
    for bad in (
        types.ScalingConfig(min_instances=6, max_instances=5),
        types.ScalingConfig(min_instances=-1, max_instances=5),
        types.ScalingConfig(min_instances=0, max_instances=0),
        types.ScalingConfig(min_instances=1, max_instances=5, target_cpu_percent=101),
    ):
        refused = await instance.call(pb.ScaleRequest(config=bad))
        assert (refused.success, refused.error.code) == (False, types.STATUS_CODE_INVALID_ARGUMENT)
    assert not (await instance.call(pb.ScaleRequest())).success
    assert sql(migrated_dsn, wished) == "3|5|70"


async def test_the_configuration_is_shown_without_its_secrets(
    migrated_dsn: str, tmp_path: Path
) -> None:
    async with demo("demo") as (_, first):
        instance = ModuleInstance(
            migrated_dsn,
            tmp_path,
            OPENAI_API_KEY="sk-very-secret",
            OPENAI_MODELS="gpt",
            SECRET_OF_FIRST="sk-also-secret",
        )
        told = {"name": "first", "api_key_env": "SECRET_OF_FIRST", **first}
        instance.write({"providers": [{**told, "headers": {"X-Team": "confidential"}}]})
        async with instance:
            answer = await instance.call(pb.GetConfigRequest())
            configs = {one.config_type: one for one in answer.configs}
            assert {"settings", "providers", "aliases"} <= set(configs)
            whole = b"".join(one.config_data for one in answer.configs)
            for secret in (b"sk-very", b"sk-also", b"sk-admin", b"confidential"):
                assert secret not in whole
            settings = json.loads(configs["settings"].config_data)
            assert settings["OPENAI_API_KEY"] == settings["ADMIN_API_KEY"] == "***"
            assert settings["CONNECT_TIMEOUT_S"] == 1
            for one in configs.values():
                assert one.checksum == hashlib.sha256(one.config_data).hexdigest()
            one = await instance.call(pb.GetConfigRequest(config_type="aliases"))
            assert [config.config_type for config in one.configs] == ["aliases"]
            unknown = pb.GetConfigRequest(config_type="secrets")
            assert await code(instance.call(unknown)) is grpc.StatusCode.NOT_FOUND


async def test_a_shutdown_asks_the_process_to_end(instance: ModuleInstance) -> None:
    bad = await instance.call(pb.ShutdownRequest(timeout_seconds=-1, graceful=True))
    assert (bad.success, instance.ends) == (False, 0)
    assert (await instance.call(pb.ShutdownRequest(graceful=True))).success
    assert instance.ends == 1


async def test_calls_are_audited_polls_together(
    instance: ModuleInstance, migrated_dsn: str
) -> None:
    for _ in range(5):
        await instance.call(pb.GetStatusRequest())
    await instance.call(pb.ScaleRequest(config=types.ScalingConfig(max_instances=2)))
    await instance.call(pb.ScaleRequest(config=types.ScalingConfig(max_instances=-2)))
    await instance.call(pb.ReloadRequest())
    await instance.call(pb.ShutdownRequest(graceful=True))

    async def changes_written() -> bool:
        return sql(migrated_dsn, "SELECT count(*) FROM audit_log WHERE times = 1") == "5"

    await until(changes_written)
    await instance.close()
    rows = sql(
        migrated_dsn,
        "SELECT action, subject, times, outcome, actor FROM audit_log"
        " WHERE action <> 'key.created' ORDER BY action, outcome",
    )
    assert rows.splitlines() == [
        "config.reloaded|configuration|1|ok|nlb",
        "instance.shutdown|Shutdown|1|ok|nlb",
        "module.called|GetStatus|5|ok|nlb",
        "scale.wished|Scale|1|failed|nlb",
        "scale.wished|instances|1|ok|nlb",
    ]


@pytest.mark.parametrize("kind", [pb.SetRateLimitRequest, pb.ApplyRateLimitRequest])
async def test_a_rate_limit_holds_is_listed_and_is_removed(
    instance: ModuleInstance, kind: Any
) -> None:
    limit = types.RateLimit(
        limit_id="slow", target="model:demo", requests_per_hour=1, burst_size=1, enabled=True
    )
    answer = await instance.call(kind(limit=limit))
    assert answer.success, answer
    assert "slow" in answer.message
    await instance.say()

    async def refused() -> bool:
        try:
            await instance.say()
        except grpc.aio.AioRpcError as error:
            code: grpc.StatusCode = error.code()
            return code is grpc.StatusCode.RESOURCE_EXHAUSTED
        return False

    await until(refused)
    found = await instance.call(pb.GetRateLimitsRequest(target="model:demo"))
    assert (found.total_limits, list(found.limits)) == (1, [limit])
    assert not (await instance.call(pb.GetRateLimitsRequest(target="global"))).limits
    (told,) = (await instance.call(pb.GetConfigRequest(config_type="limits"))).configs
    assert [one["limit_id"] for one in json.loads(told.config_data)] == ["slow"]
    assert (await instance.call(pb.RemoveRateLimitRequest(limit_id="slow"))).success

    async def let_in() -> bool:
        return not await refused()

    await until(let_in)
    again = await instance.call(pb.RemoveRateLimitRequest(limit_id="slow"))
    assert (again.success, again.error.code) == (False, types.STATUS_CODE_NOT_FOUND)
    assert again.error.details["param"] == "limit_id"


async def test_a_bad_rate_limit_is_refused_by_its_field(
    instance: ModuleInstance, migrated_dsn: str
) -> None:
    for limit, param in (
        (types.RateLimit(target="nobody", requests_per_minute=1), "target"),
        (types.RateLimit(target="provider:none", requests_per_minute=1), "target"),
        (types.RateLimit(target="global", requests_per_second=-1), "requests_per_second"),
    ):
        answer = await instance.call(pb.SetRateLimitRequest(limit=limit))
        assert not answer.success
        assert answer.error.details["param"] == param
    assert (await instance.call(pb.SetRateLimitRequest())).error.details["param"] == "limit"
    assert sql(migrated_dsn, "SELECT count(*) FROM rate_limits") == "0"


async def test_routes_and_weights_are_in_force_and_shown(instance: ModuleInstance) -> None:
    route = types.Route(
        route_id="r", source_pattern="assistant*", destination_pattern="first/demo", priority=5
    )
    answer = await instance.call(pb.UpdateRoutesRequest(routes=[route]))
    assert (answer.success, answer.routes_updated) == (True, 1), answer
    assert await instance.say("assistant-1")
    (told,) = (await instance.call(pb.GetConfigRequest(config_type="routes"))).configs
    assert [one["route_id"] for one in json.loads(told.config_data)] == ["r"]
    version = (await instance.call(pb.GetStatusRequest())).instance.version
    weight = pb.SetTrafficWeightRequest(version=version, weight=40)
    assert (await instance.call(weight)).success
    assert (await instance.call(pb.GetStatusRequest())).instance.traffic_weight == 40
    assert (await instance.call(pb.DeleteRouteRequest(route_id="r"))).success
    assert await code(instance.say("assistant-1")) is grpc.StatusCode.NOT_FOUND
