"""The load balancer steers model routes and versions over the wire, and callers feel it."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from marchproxy import module_pb2 as pb
from marchproxy import types_pb2 as types
from tests.support.module import ModuleInstance, Upstream, demo
from tests.support.nlb import client

ROUTE = types.Route(
    route_id="r",
    source_pattern="smart",
    destination_pattern="blue=blue/demo,green=green/demo",
    priority=7,
)


class Steered:
    """An instance with the providers blue and green, and the load balancer's way to it."""

    def __init__(self, instance: ModuleInstance, stub: Any, of: dict[str, Upstream]) -> None:
        self._instance = instance
        self._stub = stub
        self._of = of

    async def call(self, request: Any) -> Any:
        name = type(request).__name__.removesuffix("Request")
        return await getattr(self._stub, name)(request, timeout=10)

    async def asked(self, model: str = "smart") -> str:
        """Which provider a chat reaches; empty if nobody serves the model."""
        before = {name: len(one.chats()) for name, one in self._of.items()}
        try:
            await self._instance.say(model)
        except grpc.aio.AioRpcError as error:
            assert error.code() is grpc.StatusCode.NOT_FOUND
            return ""
        (name,) = [name for name, one in self._of.items() if len(one.chats()) > before[name]]
        return name


@pytest.fixture
async def steered(migrated_dsn: str, tmp_path: Path) -> AsyncIterator[Steered]:
    async with contextlib.AsyncExitStack() as stack:
        blue, told_blue = await stack.enter_async_context(demo("demo"))
        green, told_green = await stack.enter_async_context(demo("demo"))
        instance = ModuleInstance(migrated_dsn, tmp_path, MODULE_ALLOWED_CIDRS="127.0.0.1/32")
        providers = [{"name": "blue", **told_blue}, {"name": "green", **told_green}]
        instance.write({"providers": providers})
        await stack.enter_async_context(instance)
        channel, stub = client(instance.address)
        await stack.enter_async_context(channel)
        yield Steered(instance, stub, {"blue": blue, "green": green})


async def test_routes_are_made_found_and_taken_away(steered: Steered) -> None:
    can = pb.CanHandleRequest(route=types.Route(source_pattern="smart"))
    assert not (await steered.call(can)).can_handle
    assert await steered.asked() == ""
    other = types.Route(
        route_id="other", source_pattern="clever", destination_pattern="green/demo", priority=1
    )
    answer = await steered.call(pb.UpdateRoutesRequest(routes=[ROUTE, other]))
    assert (answer.success, answer.routes_updated) == (True, 2)
    verdict = await steered.call(can)
    assert (verdict.can_handle, verdict.priority) == (True, 7)
    assert await steered.asked() == "blue"
    assert await steered.asked("clever") == "green"
    found = await steered.call(pb.GetRoutesRequest())
    assert [route.route_id for route in found.routes] == ["other", "r"]
    query = types.Query(filters=[types.Filter(field="route_id", operator="eq", value="r")])
    found = await steered.call(pb.GetRoutesRequest(query=query))
    (route,) = found.routes
    assert (route.source_pattern, route.priority) == ("smart", 7)
    assert (await steered.call(pb.DeleteRouteRequest(route_id="r"))).success
    assert not (await steered.call(can)).can_handle
    assert await steered.asked() == ""
    assert await steered.asked("clever") == "green"


async def test_versions_are_weighted_promoted_and_rolled_back(steered: Steered) -> None:
    assert (await steered.call(pb.UpdateRoutesRequest(routes=[ROUTE]))).success
    weight = pb.SetTrafficWeightRequest(version="r/green", weight=40)
    config = (await steered.call(weight)).current_config
    assert (config.blue_weight, config.green_weight, config.canary_percent) == (60, 40, 40)
    active = await steered.call(pb.GetActiveVersionRequest())
    assert (active.version_weights["r/blue"], active.version_weights["r/green"]) == (60, 40)
    assert active.config.active_version == "r/blue"
    promoted = await steered.call(pb.PromoteVersionRequest(version="r/green", immediate=True))
    assert (promoted.success, promoted.promoted_version) == (True, "r/green")
    assert await steered.asked() == "green"
    active = await steered.call(pb.GetActiveVersionRequest())
    assert active.config.active_version == "r/green"
    assert active.version_weights["r/green"] == 100
    back = await steered.call(pb.RollbackRequest())
    assert (back.previous_version, back.current_version) == ("r/green", "r/blue")
    assert await steered.asked() == "blue"
