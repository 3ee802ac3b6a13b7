"""What operators read of the routing: figures by target, and the last decisions with reasons."""

from datetime import datetime
from typing import Any

import aiohttp
import pytest

from ailb_server.settings import ProviderSettings
from tests.e2e.test_errors_rest import error_of
from tests.support.stack import Stack, free_port

CHAT = "/v1/chat/completions"
BODY: Any = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as response:
        assert response.status == 200
        return await response.json()


def check_traffic(traffic: Any, tokens: int) -> None:
    """Of two answers, a refusal and a failure."""
    minute = traffic["last_minute"]
    assert (minute["requests"], minute["failed_requests"], minute["refused_requests"]) == (4, 1, 1)
    assert sum(slot["requests"] for slot in traffic["slots"]) == 4
    assert minute["completion_tokens"] == tokens
    assert 0 < minute["latency"]["p50_ms"] <= minute["latency"]["p99_ms"]
    assert (traffic["instance"], traffic["active_requests"]) == ("ailb-1", 0)


async def test_figures_and_decisions(postgres_server: str) -> None:
    down = ProviderSettings.model_validate(
        {"name": "down", "base_url": f"http://127.0.0.1:{free_port()}/v1", "models": ("demo",)}
    )
    settings = {"routing_strategy": "failover"}
    with Stack(postgres_server, extra=(down,), settings=settings) as stack:
        async with aiohttp.ClientSession(stack.rest) as http:
            async with http.post(CHAT, json=BODY) as response:
                usage = (await response.json())["usage"]
            async with http.post(CHAT, json={**BODY, "stream": True}) as response:
                await response.read()
            async with http.post(CHAT, json={**BODY, "demo": {"status": 422}}) as response:
                assert response.status == 422
            async with http.post(CHAT, json={**BODY, "model": "down/demo"}) as response:
                assert response.status == 503
            stats = await get(http, "/api/routing/stats")
            traffic = await get(http, "/api/routing/traffic")
            decisions = (await get(http, "/api/routing/decisions?page_size=1"))["decisions"]
            every = (await get(http, "/api/routing/decisions"))["decisions"]
    assert stats["routing_strategy"] == "failover"
    check_traffic(traffic, 2 * usage["completion_tokens"])
    broken, well = stats["targets"]
    assert (broken["provider"], well["provider"]) == ("down", "openai")
    assert (well["total_requests"], well["successful_requests"]) == (3, 2)
    assert (well["failed_requests"], well["rejected_requests"]) == (0, 1)
    assert well["success_rate"] == 1
    assert well["prompt_tokens"] == 2 * usage["prompt_tokens"]
    assert 0 < well["latency"]["p50_ms"] <= well["latency"]["p99_ms"]
    assert well["ttft"]["p50_ms"] > 0
    assert datetime.fromisoformat(well["last_success"]).tzinfo is not None
    assert well["last_failure"] == ""
    assert broken["success_rate"] == 0
    assert broken["consecutive_failures"] >= 1
    assert broken["last_failure_reason"].upper() == "UPSTREAM_UNAVAILABLE"
    assert decisions == every[:1]
    newest = every[0]
    assert (newest["model"], newest["strategy"]) == ("down/demo", "failover")
    assert [a["provider"] for a in newest["attempts"]] == ["down"] * len(newest["attempts"])
    assert (len(every), every[-1]["outcome"]) == (4, "answered")
    assert every[-1]["order"] == ["openai/demo", "down/demo"]


@pytest.mark.parametrize("size", ["-1", "201"])
async def test_a_page_has_its_bounds(stack: Stack, size: str) -> None:
    async with (
        aiohttp.ClientSession(stack.rest) as http,
        http.get(f"/api/routing/decisions?page_size={size}") as response,
    ):
        assert response.status == 400
        assert error_of(await response.json())["param"] == "page_size"


async def test_no_prompt_is_in_them(stack: Stack) -> None:
    secret = "a very private prompt"
    body = {**BODY, "messages": [{"role": "user", "content": secret}]}
    async with aiohttp.ClientSession(stack.rest) as http:
        async with http.post(CHAT, json=body) as response:
            assert response.status == 200
        texts = [str(await get(http, f"/api/routing/{part}")) for part in ("stats", "decisions")]
    assert all(secret not in text for text in texts)
