"""What operators see: models, health, metrics, limits; over REST and over gRPC."""

import asyncio
import struct
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import openai
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from prometheus_client.parser import text_string_to_metric_families

from ailb.v1 import (
    chat_service_pb2,
    chat_service_pb2_grpc,
    health_service_pb2,
    health_service_pb2_grpc,
)
from ailb.v1 import health_pb2 as ailb_health
from ailb_server.demo.server import DemoServer
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.settings import ProviderSettings
from docs.generator.every_metric import every_metric
from tests.support.stack import Stack, eventually, free_port

CHAT = "/v1/chat/completions"
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


def provider(name: str, **fields: object) -> ProviderSettings:
    return ProviderSettings.model_validate({"name": name, **fields})


def samples(exposition: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Every sample by its name and labels."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


@pytest.fixture(scope="module")
def odd_names(postgres_server: str) -> Iterator[Stack]:
    """A stack with models whose names hold `/` and `:`, an alias, and a provider that is down."""
    down = provider(
        "down", base_url=f"http://127.0.0.1:{free_port()}/v1", models=("org/model:8b", "x y")
    )
    aliases = {"smart": ("openai/demo", "down/org/model:8b")}
    with Stack(postgres_server, extra=(down,), aliases=aliases) as running:
        yield running


@pytest.mark.parametrize("name", ["demo", "org/model:8b", "x y", "smart"])
async def test_models_by_the_sdk(odd_names: Stack, name: str) -> None:
    async with openai.AsyncOpenAI(api_key="x", base_url=f"{odd_names.rest}/v1") as client:
        model = await client.models.retrieve(name)
        listed = [model.id async for model in client.models.list()]
    assert (model.id, model.object) == (name, "model")
    assert model.created > 0
    assert name in listed
    assert listed == sorted(listed)


async def test_a_model_path_may_hold_its_slashes(odd_names: Stack) -> None:
    async with (
        aiohttp.ClientSession(odd_names.rest) as http,
        http.get("/v1/models/org/model:8b") as response,
    ):
        assert (await response.json())["owned_by"] == "down"


async def test_a_broken_first_target_fails_over(odd_names: Stack) -> None:
    async with (
        aiohttp.ClientSession(odd_names.rest) as http,
        http.post(CHAT, json={**BODY, "model": "smart"}) as response,
    ):
        assert response.status == 200
        assert response.headers["x-ailb-provider"] == "openai"


async def test_health_tells_each_part(odd_names: Stack) -> None:
    eventually(lambda: _state(odd_names) == "HEALTH_STATE_DEGRADED")
    async with aiohttp.ClientSession(odd_names.rest) as http, http.get("/healthz") as response:
        assert response.status == 200
        health = await response.json()
    states = {part["name"]: part["state"] for part in health["components"]}
    assert states == {
        "provider:openai": "HEALTH_STATE_OK",
        "provider:down": "HEALTH_STATE_DOWN",
        "store": "HEALTH_STATE_OK",
        "embedder": "HEALTH_STATE_OK",
        "memory": "HEALTH_STATE_OK",
        "usage": "HEALTH_STATE_OK",
    }


def _state(stack: Stack) -> str:
    with grpc.insecure_channel(stack.grpc) as channel:
        stub = health_service_pb2_grpc.HealthServiceStub(channel)
        health = stub.GetHealth(health_service_pb2.GetHealthRequest(), timeout=10)
        return ailb_health.HealthState.Name(health.state)


async def test_a_store_outage_degrades_and_chats_go_on(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "postgres")
    with Stack(await asyncio.to_thread(postgres.start)) as stack:
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(eventually, lambda: _state(stack) == "HEALTH_STATE_DEGRADED")
        async with aiohttp.ClientSession(stack.rest) as http:
            async with http.post(CHAT, json=BODY) as response:
                assert response.status == 200
            async with http.get("/healthz") as response:
                assert response.status == 200
        await asyncio.to_thread(postgres.start)
        try:
            await asyncio.to_thread(eventually, lambda: _state(stack) == "HEALTH_STATE_OK")
        finally:
            await asyncio.to_thread(postgres.stop)


async def test_no_provider_that_answers_is_503(postgres_server: str) -> None:
    down = provider("down", base_url=f"http://127.0.0.1:{free_port()}/v1", models=("m",))
    with Stack(postgres_server, upstreams=(), extra=(down,)) as stack:
        async with aiohttp.ClientSession(stack.rest) as http:
            async with http.get("/healthz") as response:
                assert response.status == 503
                assert (await response.json())["state"] == "HEALTH_STATE_DOWN"
            async with http.post(CHAT, json={**BODY, "model": "m"}) as response:
                assert response.status == 503
                error = (await response.json())["error"]
    assert error["code"] == "upstream_unavailable"


async def test_metrics_count_what_happened(stack: Stack) -> None:
    async with aiohttp.ClientSession(stack.rest) as http:
        before = samples(await _metrics(http))
        async with http.post(CHAT, json=BODY) as response:
            usage = (await response.json())["usage"]
        paused = {**BODY, "stream": True, "demo": {"chunk_ms": 5}}
        async with http.post(CHAT, json=paused) as response:
            await response.read()
        async with http.post(CHAT, json={**BODY, "demo": {"status": 500}}) as response:
            await response.read()
        after = samples(await _metrics(http))

    def grown(name: str, **labels: str) -> float:
        key = (name, frozenset(labels.items()))
        return after.get(key, 0.0) - before.get(key, 0.0)

    target = {"provider": "openai", "model": "demo"}
    assert grown("ailb_requests_total", **target, outcome="ok") == 2
    assert grown("ailb_tokens_total", **target, kind="prompt") == 2 * usage["prompt_tokens"]
    assert grown("ailb_tokens_total", **target, kind="completion") == 2 * usage["completion_tokens"]
    assert grown("ailb_upstream_failures_total", **target, reason="upstream_unavailable") == 1
    provider = {"provider": "openai"}
    assert grown("ailb_upstream_first_chunk_seconds_count", **provider) == 2
    assert grown("ailb_time_to_first_token_seconds_count", **provider) == 1
    assert grown("ailb_model_request_seconds_count", **target) == 2
    assert grown("ailb_between_tokens_seconds_count", **provider) > 0
    for phase in ("admission", "context", "routing"):
        assert grown("ailb_phase_seconds_count", phase=phase) == 3
    assert after[("ailb_target_breaker_state", frozenset(target.items()))] == 0
    assert after[("ailb_store_connections", frozenset({("state", "idle")}))] > 0
    assert grown("ailb_received_bytes_total") > 0
    assert grown("ailb_sent_bytes_total") > 0
    assert grown("ailb_overhead_seconds_count") == 2
    assert after[("ailb_active_chats", frozenset())] == 0


async def test_metrics_are_those_that_are_documented(stack: Stack) -> None:
    async with aiohttp.ClientSession(stack.rest) as http:
        text = await _metrics(http)
    told = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in text_string_to_metric_families(text)
        if family.name.startswith("ailb_")
    }
    documented = {spec.name: spec.type for spec in every_metric()}
    # Of whom is to register at a load balancer: this one is not.
    assert told == {n: t for n, t in documented.items() if not n.startswith("ailb_nlb_")}


async def test_what_is_refused_before_a_chat_begins_is_counted(stack: Stack) -> None:
    async with aiohttp.ClientSession(stack.rest) as http:
        before = samples(await _metrics(http))
        for path in (CHAT, "/v1/completions", "/v1/embeddings", "/v1/messages"):
            async with http.post(path, data=b"{") as response:
                assert response.status == 400
        async with grpc.aio.insecure_channel(stack.grpc) as channel:
            stub = chat_service_pb2_grpc.ChatServiceStub(channel)
            with pytest.raises(grpc.aio.AioRpcError):
                await stub.CreateChatCompletion(
                    chat_service_pb2.CreateChatCompletionRequest(), timeout=10
                )
        after = samples(await _metrics(http))
    grown = {
        key: value - before.get(key, 0.0)
        for key, value in after.items()
        if key[0] in ("ailb_requests_refused_total", "ailb_requests_total")
    }
    key = ("ailb_requests_refused_total", frozenset({("reason", "invalid_request")}))
    assert {k: v for k, v in grown.items() if v} == {key: 5}


async def _metrics(http: aiohttp.ClientSession) -> str:
    async with http.get("/metrics") as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/plain")
        return await response.text()


async def test_the_metrics_port_is_prometheus_own(postgres_server: str) -> None:
    port = free_port()
    with Stack(postgres_server, settings={"metrics_port": port}):
        text = await asyncio.to_thread(_get, f"http://127.0.0.1:{port}/metrics")
    assert "ailb_build_info" in text


def _get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 - loopback
        body: bytes = response.read()
        return body.decode()


async def test_beyond_the_bound_calls_are_refused_and_health_answers(postgres_server: str) -> None:
    with Stack(postgres_server, settings={"max_concurrent_requests": 1}) as stack:
        slow = {**BODY, "stream": True, "demo": {"words": 2_000, "chunk_ms": 50}}
        async with aiohttp.ClientSession(stack.rest) as http:
            async with http.post(CHAT, json=slow) as first:
                await first.content.readany()
                async with http.post(CHAT, json=BODY) as second:
                    assert second.status == 503
                    assert (await second.json())["error"]["code"] == "overloaded"
                    assert second.headers["retry-after"] == "1"
                async with http.get("/healthz") as health:
                    assert health.status == 200
            await asyncio.to_thread(
                eventually, lambda: stack.loop.run(_succeeds(f"{stack.rest}{CHAT}"))
            )


async def _succeeds(url: str) -> bool:
    async with aiohttp.ClientSession() as http, http.post(url, json=BODY) as response:
        return response.status == 200


async def test_sixteen_kilobytes_of_headers_pass(stack: Stack) -> None:
    headers = {"x-long": "x" * 15_000, "x-request-id": "caller/1+2=3@home"}
    async with (
        aiohttp.ClientSession(stack.rest) as http,
        http.post(CHAT, json=BODY, headers=headers) as response,
    ):
        assert response.status == 200
        assert response.headers["x-request-id"] == "caller/1+2=3@home"


async def test_grpc_health_and_reflection(stack: Stack) -> None:
    def ask() -> tuple[int, list[str]]:
        with grpc.insecure_channel(stack.grpc) as channel:
            request = health_pb2.HealthCheckRequest(service="ailb.v1.ChatService")
            stub: Any = health_pb2_grpc.HealthStub(channel)
            status = stub.Check(request, timeout=10).status
            return status, list(ProtoReflectionDescriptorDatabase(channel).get_services())

    status, services = await asyncio.to_thread(ask)
    assert status == health_pb2.HealthCheckResponse.SERVING
    assert {"ailb.v1.ChatService", "ailb.v1.ModelService", "ailb.openai.v1.OpenAIService"} <= set(
        services
    )


async def test_a_client_that_pings_often_is_not_sent_away(stack: Stack) -> None:
    """The NLB pings without calls; grpc's defaults answer with GOAWAY too_many_pings (RFC 9113)."""
    host, _, port = stack.grpc.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        settings, ping = b"\0\0\0\4\0\0\0\0\0", b"\0\0\x08\6\0\0\0\0\0" + b"12345678"
        writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings)
        acknowledged = 0
        async with asyncio.timeout(10):
            for _ in range(20):
                writer.write(ping)
                acknowledged += await _ping_answered(reader)
        assert acknowledged == 20
    finally:
        writer.close()


async def _ping_answered(reader: asyncio.StreamReader) -> bool:
    """Reads frames up to a PING's acknowledgement; False for a GOAWAY."""
    while True:
        head = await reader.readexactly(9)
        (length,) = struct.unpack(">I", b"\0" + head[:3])
        kind, flags = head[3], head[4]
        await reader.readexactly(length)
        if kind == 7:
            return False
        if kind == 6 and flags & 1:
            return True


async def test_a_provider_that_is_away_at_the_start_is_not_the_callers_fault(
    postgres_server: str,
) -> None:
    port = free_port()
    away = provider("away", base_url=f"http://127.0.0.1:{port}/v1")
    with Stack(postgres_server, upstreams=(), extra=(away,)) as stack:
        async with aiohttp.ClientSession(stack.rest) as http:
            for request in (http.post(CHAT, json=BODY), http.get("/v1/models/demo")):
                async with request as response:
                    assert response.status == 503
                    assert response.headers["retry-after"] == "1"
            demo = DemoServer(port=port)
            stack.loop.run(demo.start())
            try:
                url = f"{stack.rest}{CHAT}"
                await asyncio.to_thread(eventually, lambda: stack.loop.run(_succeeds(url)))
                async with http.post(CHAT, json={**BODY, "model": "gpt-9"}) as response:
                    assert response.status == 404
            finally:
                stack.loop.run(demo.stop())
