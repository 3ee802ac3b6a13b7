"""The access log of the real server: as JSON, with the request's id, sampled, without content."""

import asyncio
import io
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import aiohttp
import pytest

from ailb_server.cli.running import Signals
from ailb_server.telemetry import logs
from tests.support.stack import KEY, Stack, eventually

CHAT = "/v1/chat/completions"
SECRET = "the-very-secret-prompt"
ADMIN = "admin-key-of-the-access-log-0123456789"


@pytest.fixture(scope="module")
def stack(postgres_server: str) -> Iterator[Stack]:
    settings = {"require_api_key": True, "admin_api_key": ADMIN, "access_log_sample": 1}
    with Stack(postgres_server, settings=settings) as started:
        yield started


@pytest.fixture
def told() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was written so far, line by line."""
    root, own = logging.getLogger(), logging.getLogger("ailb_server")
    before = (root.level, own.level, list(root.handlers))
    stream = io.StringIO()
    logs.configure("info", "json", {"module_id": "ailb-7", "version": "1.2.3"}, stream)

    def read() -> list[dict[str, Any]]:
        for handler in root.handlers:
            handler.flush()
        return [json.loads(line) for line in stream.getvalue().splitlines()]

    yield read
    for handler in set(root.handlers) - set(before[2]):
        handler.close()
    root.setLevel(before[0])
    own.setLevel(before[1])
    root.handlers = before[2]


def _calls(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["logger"] == logs.ACCESS]


async def _post(stack: Stack, key: str, body: dict[str, Any]) -> str:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(stack.rest, headers=headers) as http,
        http.post(CHAT, json=body) as response,
    ):
        await response.read()
        return response.headers["x-request-id"]


async def test_each_request_has_its_line(
    stack: Stack, told: Callable[[], list[dict[str, Any]]]
) -> None:
    body: dict[str, Any] = {
        "model": "demo-echo",
        "messages": [{"role": "user", "content": SECRET}],
    }
    fine = await _post(stack, ADMIN, {**body, "stream": True, "session_id": "s-log"})
    failed = await _post(stack, ADMIN, {**body, "demo": {"status": 500, "error_body": SECRET}})
    unknown = await _post(stack, ADMIN, {**body, "model": "none-such"})
    refused = await _post(stack, "sk-not-a-key-of-anybody-here", body)
    await asyncio.to_thread(eventually, lambda: len(_calls(told())) == 4)
    lines = {line["request_id"]: line for line in _calls(told())}
    assert [lines[r]["status"] for r in (fine, failed, unknown, refused)] == [200, 503, 404, 401]
    line = lines[fine]
    assert (line["module_id"], line["version"]) == ("ailb-7", "1.2.3")
    assert (line["provider"], line["model_sent"], line["attempts"]) == ("openai", "demo-echo", 1)
    assert line["outcome"] == "ok"
    assert line["latency_ms"] >= line["ttft_ms"] > 0
    assert lines[failed]["tried"] == ["openai/demo-echo: upstream_unavailable"]
    assert "model" not in lines[refused]
    everything = json.dumps(told())
    for word in (SECRET, ADMIN, KEY, "sk-not-a-key-of-anybody-here"):
        assert word not in everything


async def test_health_and_metrics_are_not_in_it(
    stack: Stack, told: Callable[[], list[dict[str, Any]]]
) -> None:
    async with aiohttp.ClientSession(stack.rest) as http:
        for path in ("/healthz", "/metrics"):
            async with http.get(path) as response:
                await response.read()
    await _post(stack, ADMIN, {"model": "demo", "messages": []})
    await asyncio.to_thread(eventually, lambda: len(_calls(told())) >= 1)
    assert len(_calls(told())) == 1


def _until(level: str) -> None:
    eventually(lambda: logs.level() == level)


async def test_a_signal_switches_the_level_and_back() -> None:
    own = logging.getLogger("ailb_server")
    before = (own.level, logging.getLogger().level)
    try:
        logs.set_level("warning")
        with Signals().caught():
            for wanted in ("debug", "warning"):
                os.kill(os.getpid(), signal.SIGUSR1)
                await asyncio.to_thread(_until, wanted)
    finally:
        own.setLevel(before[0])
        logging.getLogger().setLevel(before[1])
