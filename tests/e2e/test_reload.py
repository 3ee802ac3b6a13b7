"""The configuration changes while calls run: all of it is good, or nothing changes."""

import asyncio
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from marchproxy import module_pb2 as pb
from marchproxy import types_pb2 as types
from tests.support.module import Json, ModuleInstance, Upstream, demo, until
from tests.support.postgres import sql

SLOW = {"words": 60.0, "chunk_ms": 30.0}


class Two:
    """An instance with the upstream `a`, and `b` that it does not know yet."""

    def __init__(self, instance: ModuleInstance, a: tuple[Upstream, Json], b: Json) -> None:
        self.instance = instance
        self.upstream, self.a = a[0], {"name": "a", **a[1]}
        self.b = {"name": "b", **b}

    def knows(self, *providers: Json, **aliases: list[str]) -> None:
        self.instance.write({"providers": [*providers], "aliases": aliases})

    async def reload(self) -> Any:
        return await self.instance.call(pb.ReloadRequest(graceful=True))

    async def details(self) -> Any:
        return (await self.instance.call(pb.GetStatusRequest())).details

    async def update(self, part: str, data: object, **more: Any) -> Any:
        text = data if isinstance(data, bytes) else json.dumps(data).encode()
        config = types.ConfigUpdate(
            config_type=part, config_data=text, checksum=more.pop("checksum", "")
        )
        return await self.instance.call(pb.UpdateConfigRequest(config=config, **more))


@pytest.fixture
async def two(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Two]:
    async with demo("of-a", "shared") as a, demo("of-b", "shared") as (_, b):
        instance = ModuleInstance(migrated_dsn, tmp_path)
        made = Two(instance, a, b)
        made.knows(made.a)
        async with instance:
            yield made


async def is_missing(instance: ModuleInstance, model: str) -> bool:
    try:
        await instance.say(model)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            return True
        raise
    return False


async def test_no_running_stream_is_cut_and_who_is_asked_changes(two: Two) -> None:
    instance = two.instance
    whole = await instance.say("of-a", words=60)
    streams = [asyncio.create_task(instance.say("of-a", **SLOW)) for _ in range(20)]

    async def all_run() -> bool:
        stats = (await instance.call(pb.GetStatsRequest())).stats
        return bool(stats.custom_stats["active_streams"] == "20")

    await until(all_run)
    two.knows(two.b, smart=["of-b"])
    answer = await two.reload()
    assert answer.success, answer.message
    assert not any(stream.done() for stream in streams)
    assert await instance.say("of-b")
    assert await instance.say("smart")
    assert await is_missing(instance, "of-a")
    assert await is_missing(instance, "a/of-a")
    assert [await stream for stream in streams] == [whole] * 20
    details = await two.details()
    assert details["config_version"] == "2"
    assert float(details["config_age_s"]) < 60


async def test_what_is_known_of_unchanged_targets_stays(two: Two) -> None:
    instance = two.instance
    for _ in range(6):
        with pytest.raises(grpc.aio.AioRpcError):
            await instance.say("a/of-a", status=500)
    two.knows({**two.a, "weight": 7}, two.b)
    assert (await two.reload()).success
    deep = await instance.call(pb.HealthCheckRequest(deep_check=True))
    assert deep.checks["target:a/of-a"].startswith("open ")
    # Another server of the name, or another account there, begins anew.
    two.knows({**two.a, "headers": {"X-Account": "other"}}, two.b)
    assert (await two.reload()).success
    deep = await instance.call(pb.HealthCheckRequest(deep_check=True))
    assert "target:a/of-a" not in deep.checks
    assert await instance.say("a/of-a")
    assert two.upstream.chats()[-1].headers["X-Account"] == "other"


@pytest.mark.parametrize(
    ("file", "where"),
    [
        ("providers:\n- name: b\n  base_url: [", r"not valid YAML \(line \d\)"),
        ("providers:\n- name: b\n  base_url: nowhere\n", r"providers\.0\.base_url: "),
        ("providers:\n- {name: b, base_url: 'http://x', api_key_env: NO_SUCH}\n", "NO_SUCH: "),
        ("aliases: {x: [y]}\n", "providers: at least one is needed"),
    ],
)
async def test_a_bad_file_changes_nothing_and_says_where(
    two: Two, migrated_dsn: str, file: str, where: str
) -> None:
    two.instance.write(file)
    answer = await two.reload()
    assert (answer.success, answer.error.code) == (False, types.STATUS_CODE_INVALID_ARGUMENT)
    assert re.search(where, answer.error.details["0"]), answer
    assert await two.instance.say("of-a")
    details = await two.details()
    assert details["config_version"] == "1"
    assert re.search(where, details["config_problem"])
    names = ["ailb_config_reloads_total", "ailb_config_version"]
    found = (await two.instance.call(pb.GetMetricsRequest(metric_names=names))).metrics.metrics
    figures = {(one.name, *one.labels.values()): one.value for one in found}
    assert figures["ailb_config_reloads_total", "refused"] == 1
    assert figures["ailb_config_version",] == 1
    two.knows(two.a)
    assert (await two.reload()).success
    assert (await two.details())["config_problem"] == ""


async def test_reloads_that_come_together_come_one_after_the_other(two: Two) -> None:
    answers = await asyncio.gather(*(two.reload() for _ in range(5)))
    assert all(answer.success for answer in answers)
    assert {re.findall(r"\d+", answer.message)[0] for answer in answers} == set("23456")
    assert (await two.details())["config_version"] == "6"


async def test_what_needs_a_restart_is_told_and_left(two: Two) -> None:
    two.instance.set(GRPC_PORT=50099, ROUTING_STRATEGY="failover", LOG_LEVEL="warning")
    answer = await two.reload()
    assert answer.success
    assert "GRPC_PORT" in answer.message
    assert (await two.details())["restart_needed_for"] == "GRPC_PORT"
    settings = await shown(two.instance, "settings")
    assert (settings["GRPC_PORT"], settings["ROUTING_STRATEGY"]) == (50051, "failover")
    assert logging.getLogger("ailb_server").level == logging.WARNING


async def test_an_update_holds_on_every_instance_and_over_a_restart(
    two: Two, migrated_dsn: str, tmp_path: Path
) -> None:
    other = ModuleInstance(migrated_dsn, tmp_path, MODULE_ID="ailb-2")
    other.write(two.instance.yaml.read_text())
    async with other:
        answer = await two.update("providers", [two.b])
        assert answer.success, answer
        assert await two.instance.say("of-b")
        assert await is_missing(two.instance, "of-a")

        async def followed() -> bool:
            return await is_missing(other, "of-a")

        await until(followed)
        assert await other.say("of-b")
    # One that starts later, as that one does again, has it from its beginning.
    async with other:
        assert await other.say("of-b")
        # A reload of the file leaves the change; without it the file's holds again.
        assert (await two.reload()).success
        assert await is_missing(two.instance, "of-a")
        assert (await two.update("providers", b"")).success
        assert await two.instance.say("of-a")

        async def followed_back() -> bool:
            return not await is_missing(other, "of-a")

        await until(followed_back)
    rows = sql(migrated_dsn, "SELECT subject FROM audit_log WHERE action = 'config.updated'")
    assert rows.splitlines() == ["providers", "providers"]


async def test_what_is_only_validated_is_not_changed(two: Two, migrated_dsn: str) -> None:
    answer = await two.update("providers", [two.b], validate_only=True)
    assert (answer.success, answer.validation_passed) == (True, True)
    assert await two.instance.say("of-a")
    assert sql(migrated_dsn, "SELECT count(*) FROM config_overlay") == "0"
    bad = await two.update("providers", [{"name": "B"}], validate_only=True)
    assert (bad.success, bad.validation_passed) == (False, False)
    assert any("providers.0.name" in fault for fault in bad.validation_errors)


async def test_settings_change_at_run_time(two: Two) -> None:
    changed = {"LOG_LEVEL": "error", "routing_strategy": "random", "total_timeout_s": 77}
    assert (await two.update("settings", changed)).success
    settings = await shown(two.instance, "settings")
    assert [settings[name.upper()] for name in changed] == ["error", "random", 77]
    assert logging.getLogger("ailb_server").level == logging.ERROR
    assert (await two.update("settings", {})).success
    assert (await shown(two.instance, "settings"))["ROUTING_STRATEGY"] == "load_balanced"


@pytest.mark.parametrize(
    ("part", "data", "told"),
    [
        ("settings", {"GRPC_PORT": 1}, "cannot be changed while AILB runs"),
        ("settings", {"openai_api_key": "sk-1"}, "read from the environment only"),
        ("settings", {"no_such": 1}, "no such setting"),
        ("settings", {"TOTAL_TIMEOUT_S": -1}, "TOTAL_TIMEOUT_S: "),
        ("settings", [1], "must be a mapping"),
        ("routes", {}, "config_type: must be one of"),
        ("providers", b"[", "not valid YAML or JSON (line 1)"),
        ("providers", b"\xff", "not UTF-8"),
        (
            "providers",
            [{"name": "evil", "base_url": "http://evil.test", "api_key_env": "ADMIN_API_KEY"}],
            "New credentials are for the file",
        ),
        (
            "providers",
            [{"name": "b", "base_url": "http://b.test", "headers": {"Authorization": "x"}}],
            "a credential does not belong here",
        ),
        ("providers", [], "at least one is needed"),
    ],
)
async def test_a_bad_update_changes_nothing_and_says_why(
    two: Two, migrated_dsn: str, part: str, data: object, told: str
) -> None:
    answer = await two.update(part, data)
    assert (answer.success, answer.validation_passed) == (False, False)
    assert any(told in fault for fault in answer.validation_errors), answer
    assert sql(migrated_dsn, "SELECT count(*) FROM config_overlay") == "0"
    assert (await two.details())["config_version"] == "1"


async def test_an_update_with_a_wrong_checksum_changes_nothing(two: Two) -> None:
    data = json.dumps({"smart": ["of-a"]}).encode()
    wrong = await two.update("aliases", data, checksum="00")
    assert "checksum" in wrong.validation_errors[0]
    assert await is_missing(two.instance, "smart")
    right = await two.update("aliases", data, checksum=hashlib.sha256(data).hexdigest())
    assert right.success
    assert await two.instance.say("smart")


async def shown(instance: ModuleInstance, part: str) -> Any:
    (config,) = (await instance.call(pb.GetConfigRequest(config_type=part))).configs
    return json.loads(config.config_data)
