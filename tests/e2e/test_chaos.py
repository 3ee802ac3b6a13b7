"""A minute of three upstreams that fail at random, under load."""

import asyncio
import json
import random
import time
from collections import Counter
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.stack import Stack, eventually

CHAT = "/v1/chat/completions"
MINUTE_S = 60.0
CLIENTS = 12
TOTAL_TIMEOUT_S = 4.0
# What a caller may meet: an answer, or the error of whom it was.
STATUSES = {200, 429, 502, 503, 504}
MOODS: tuple[dict[str, object], ...] = (
    {},
    {},
    {},
    {"chunk_ms": 5},
    {"status": 500},
    {"status": 401},
    {"status": 429, "headers": {"retry-after": "1"}},
    {"fault": "reset"},
    {"fault": "close"},
    {"fault": "stall"},
    {"fault": "cut", "after": 2},
    {"fault": "malformed"},
    {"fault": "malformed_late", "after": 2},
    {"fault": "error_in_200"},
    {"fault": "eof"},
    {"fault": "empty"},
)


@pytest.mark.timeout(180)
async def test_every_request_is_answered_or_told_why(postgres_server: str) -> None:
    settings = {"first_token_timeout_s": 1, "total_timeout_s": TOTAL_TIMEOUT_S}
    names = ("openai", "second", "third")
    with Stack(postgres_server, upstreams=names, settings=settings) as stack:
        rng = random.Random(2026)  # noqa: S311 - repeatable, not secret
        ends = time.monotonic() + MINUTE_S
        seen: Counter[str] = Counter()
        async with aiohttp.ClientSession(stack.rest) as http:
            clients = [_client(http, rng, ends, seen) for _ in range(CLIENTS)]
            await asyncio.gather(_moods(stack, rng, ends), *clients)
            await asyncio.to_thread(eventually, lambda: _at_rest(stack))
            assert await _active(http) == 0
            async with http.get("/api/routing/stats") as response:
                targets = (await response.json())["targets"]
    assert [target["in_flight"] for target in targets] == [0] * len(targets)
    # How many is chance: while all three are dark, errors come much faster than answers.
    assert seen["whole"], seen
    assert seen["told"], "nothing failed: the moods did not reach the callers"
    assert set(seen) <= {"whole", "told", "left"}, seen


async def _moods(stack: Stack, rng: random.Random, ends: float) -> None:
    while time.monotonic() < ends:
        upstream = rng.choice(list(stack.upstreams.values()))
        upstream.server.behave(rng.choice(MOODS))
        await asyncio.sleep(0.2)
    for upstream in stack.upstreams.values():
        upstream.server.behave({})


async def _client(
    http: aiohttp.ClientSession, rng: random.Random, ends: float, seen: Counter[str]
) -> None:
    while time.monotonic() < ends:
        stream = rng.random() < 0.5
        body = {"model": "demo", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
        # Beyond the total there is only what the machine itself may take.
        async with asyncio.timeout(TOTAL_TIMEOUT_S + 10), http.post(CHAT, json=body) as response:
            assert response.status in STATUSES
            if rng.random() < 0.05:
                seen["left"] += 1
                continue
            seen[_verdict(response.status, await response.text(), stream=stream)] += 1


def _verdict(status: int, text: str, *, stream: bool) -> str:
    """`whole` for a complete answer, `told` for an error of OpenAI's shape; else what it was."""
    if stream and status == 200:
        last = [event for event in text.split("\n\n") if event.startswith("data: ")][-1]
        if last == "data: [DONE]":
            return "whole"
        text = last.removeprefix("data: ")
    answer: Any = json.loads(text)
    if status == 200 and not stream:
        return "whole" if answer["choices"] else text
    return "told" if set(answer["error"]) >= {"message", "type", "param", "code"} else text


def _at_rest(stack: Stack) -> bool:
    return all(upstream.server.open_requests == 0 for upstream in stack.upstreams.values())


async def _active(http: aiohttp.ClientSession) -> float:
    async with http.get("/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    (active,) = [f.samples[0].value for f in families if f.name == "ailb_active_chats"]
    return active
