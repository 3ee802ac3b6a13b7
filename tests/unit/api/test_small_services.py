"""Models, health and metrics, as callers read them."""

from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from ailb.v1 import health_pb2, health_service_pb2, metrics_service_pb2, model_service_pb2
from ailb_server.api.health_service import HealthService, Instance
from ailb_server.api.metrics_service import MetricsService
from ailb_server.api.model_service import ModelService
from ailb_server.domain.errors import (
    ModelNotFoundError,
    PermissionDeniedError,
    StorageUnavailableError,
)
from ailb_server.domain.health import PartHealth
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Target
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.ledger import DOWN_AFTER, Ledger
from ailb_server.routing.table import Alias
from ailb_server.telemetry.metrics import Metrics
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider

_ANY = cast("Any", FakeContext())


def _catalogue(ledger: Ledger, *providers: str) -> Catalogue:
    declared = [
        Declaration(name, f"{name}-owner", FakeProvider(name), (f"{name}/m:1", "shared"))
        for name in providers
    ]
    return Catalogue(declared, ledger, {"an-alias": Alias(("shared",))})


async def test_models_are_listed_in_openais_shape() -> None:
    service = ModelService(_catalogue(Ledger(), "q", "p"))
    with running():
        listed = await service.ListModels(model_service_pb2.ListModelsRequest(), _ANY)
    assert listed.object == "list"
    told = [(model.id, model.object, model.owned_by) for model in listed.data]
    assert told == [
        ("an-alias", "model", "ailb"),
        ("p/m:1", "model", "p-owner"),
        ("q/m:1", "model", "q-owner"),
        ("shared", "model", "q-owner"),
    ]
    assert all(model.created > 0 for model in listed.data)


@pytest.mark.parametrize("name", ["p/m:1", "p/shared", "an-alias"])
async def test_a_model_is_found_by_any_of_its_names(name: str) -> None:
    service = ModelService(_catalogue(Ledger(), "p"))
    with running():
        model = await service.GetModel(model_service_pb2.GetModelRequest(id=name), _ANY)
    assert (model.id, model.object) == (name, "model")


async def test_an_unknown_model_is_not_found() -> None:
    service = ModelService(_catalogue(Ledger(), "p"))
    with running(), pytest.raises(ModelNotFoundError):
        await service.GetModel(model_service_pb2.GetModelRequest(id="nope"), _ANY)


async def test_a_key_is_shown_what_it_may_use() -> None:
    service = ModelService(_catalogue(Ledger(), "p"))
    with running(principal=Principal(allowed_models=("an-*",))):
        listed = await service.ListModels(model_service_pb2.ListModelsRequest(), _ANY)
        assert [model.id for model in listed.data] == ["an-alias"]
        with pytest.raises(PermissionDeniedError):
            await service.GetModel(model_service_pb2.GetModelRequest(id="shared"), _ANY)


async def _up() -> None:
    return None


async def _down() -> None:
    raise StorageUnavailableError("gone")


_OK, _DEGRADED = health_pb2.HEALTH_STATE_OK, health_pb2.HEALTH_STATE_DEGRADED
_DOWN, _DRAINING = health_pb2.HEALTH_STATE_DOWN, health_pb2.HEALTH_STATE_DRAINING


@pytest.mark.parametrize(
    ("failing", "ping", "draining", "state", "status"),
    [
        ("", _up, False, _OK, None),
        ("p", _up, False, _DEGRADED, None),
        ("", _down, False, _DEGRADED, None),
        ("pq", _up, False, _DOWN, "503"),
        ("pq", _down, True, _DRAINING, "503"),
        ("", _up, True, _DRAINING, "503"),
    ],
)
async def test_health_is_what_its_parts_make_it(
    failing: str,
    ping: Callable[[], Awaitable[None]],
    *,
    draining: bool,
    state: health_pb2.HealthState.ValueType,
    status: str | None,
) -> None:
    ledger = Ledger()
    for provider in failing:
        ledger.state(Target(provider, "shared")).breaker.failures_in_row = DOWN_AFTER
    instance = Instance("ailb-1", "1.2", lambda: draining)
    service = HealthService(instance, _catalogue(ledger, "p", "q"), ping)
    with running() as context:
        health = await service.GetHealth(health_service_pb2.GetHealthRequest(), context)
    assert (health.state, health.instance, health.version) == (state, "ailb-1", "1.2")
    parts = {part.name: part.state for part in health.components}
    assert parts == {
        "provider:p": _DOWN if "p" in failing else _OK,
        "provider:q": _DOWN if "q" in failing else _OK,
        "store": _OK if ping is _up else _DOWN,
    }
    assert context.initial["x-request-id"] == "r-1"
    assert context.initial.get("x-http-status") == status


@pytest.mark.parametrize(
    ("part", "own", "whole"),
    [
        (PartHealth("embedder"), _OK, _OK),
        (PartHealth("embedder", "starting"), _DEGRADED, _DEGRADED),
        (PartHealth("embedder", "no such model", works=False), _DOWN, _DEGRADED),
    ],
)
async def test_what_chats_do_without_degrades_and_no_more(
    part: PartHealth, own: health_pb2.HealthState.ValueType, whole: health_pb2.HealthState.ValueType
) -> None:
    instance = Instance("ailb-1", "1.2", lambda: False)
    service = HealthService(instance, _catalogue(Ledger(), "p"), _up, [lambda: part])
    with running() as context:
        health = await service.GetHealth(health_service_pb2.GetHealthRequest(), context)
    found = {c.name: (c.state, c.detail) for c in health.components}
    assert found["embedder"] == (own, part.problem)
    assert health.state == whole
    assert context.initial.get("x-http-status") is None


async def test_no_provider_is_down() -> None:
    service = HealthService(Instance("a", "1", lambda: False), _catalogue(Ledger()), _up)
    with running() as context:
        health = await service.GetHealth(health_service_pb2.GetHealthRequest(), context)
    assert health.state == _DOWN


async def test_metrics_are_the_exposition() -> None:
    service = MetricsService(Metrics("ailb-1", "1.2"))
    answer = await service.GetMetrics(metrics_service_pb2.GetMetricsRequest(), _ANY)
    assert answer.body.content_type.startswith("text/plain")
    assert b'ailb_build_info{module_id="ailb-1",version="1.2"} 1.0' in answer.body.data
