"""Streams that say nothing for a while stay alive through Envoy, before their first event too."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import aiohttp
import anthropic
import openai
import orjson
import pytest

from ailb_server.api import heartbeat
from ailb_server.settings import ProviderSettings
from tests.support.anthropic_upstream import (
    EVENT_STREAM,
    MODEL,
    STREAM,
    AnthropicUpstream,
    Script,
)
from tests.support.loop_thread import LoopThread
from tests.support.stack import Stack

CHAT = "/v1/chat/completions"
HELLO: Any = [{"role": "user", "content": "hello"}]
BODY: Any = {"model": "demo", "messages": HELLO, "stream": True}
BEAT = b": keep-alive\n\n"
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
EVERY_S = 0.1
LATE_MS = 500


@pytest.fixture(scope="module")
def upstream() -> Iterator[AnthropicUpstream]:
    loop = LoopThread()
    server = AnthropicUpstream(models=[{"id": MODEL}])
    loop.run(server.__aenter__())
    try:
        yield server
    finally:
        loop.run(server.__aexit__(None, None, None))
        loop.stop()


@pytest.fixture(scope="module")
def stack(postgres_server: str, upstream: AnthropicUpstream) -> Iterator[Stack]:
    """Beats often. `demo` is at `first`, then at `second`, which can be told how to behave."""
    claude = ProviderSettings.model_validate(
        {"name": "claude", "kind": "anthropic", "base_url": upstream.url, "api_key": "sk-ant-x"}
    )
    with (
        pytest.MonkeyPatch.context() as patch,
        Stack(
            postgres_server,
            upstreams=("first", "second"),
            extra=(claude,),
            settings={"routing_strategy": "failover", "first_token_timeout_s": 5},
        ) as running,
    ):
        patch.setattr(heartbeat, "HEARTBEAT_S", EVERY_S)
        yield running


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack.rest) as session:
        yield session


@contextmanager
def behaving(stack: Stack, **behaviour: dict[str, object]) -> Iterator[None]:
    """Upstreams by name, each with its behaviour for every request within."""

    async def behave(name: str, wishes: dict[str, object]) -> None:
        stack.upstreams[name].server.behave(wishes)

    for name, wishes in behaviour.items():
        stack.loop.run(behave(name, wishes))
    try:
        yield
    finally:
        for name in behaviour:
            stack.loop.run(behave(name, {}))


def events(text: bytes, beat: bytes = BEAT) -> tuple[int, list[bytes]]:
    """How many beats came before the first other event, and all other events."""
    found = [event + b"\n\n" for event in text.split(b"\n\n") if event]
    others = [event for event in found if event != beat]
    return found.index(others[0]), others


async def test_a_late_stream_beats_first_and_is_whole(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    asked = {**BODY, "demo": {"latency_ms": LATE_MS}}
    async with http.post(CHAT, json=asked) as response:
        assert response.status == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"]
        assert not any(name.lower().startswith("x-ailb") for name in response.headers)
        assert await response.content.readuntil(b"\n\n") == BEAT
        beats, others = events(BEAT + await response.read())
    assert beats >= 2
    assert others[0].startswith(b"data: {")
    assert others[-1] == b"data: [DONE]\n\n"


async def test_the_official_client_does_not_see_it(stack: Stack) -> None:
    async with openai.AsyncOpenAI(api_key="x", base_url=f"{stack.rest}/v1") as client:
        late: Any = {"demo": {"latency_ms": LATE_MS}}
        stream = await client.chat.completions.create(**BODY, extra_body=late)
        chunks = [chunk async for chunk in stream]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks)


async def test_failover_goes_on_behind_the_beats(stack: Stack, http: aiohttp.ClientSession) -> None:
    broken: dict[str, object] = {"latency_ms": LATE_MS, "status": 500}
    with behaving(stack, first=broken):
        async with http.post(CHAT, json=BODY) as response:
            assert response.status == 200
            beats, others = events(await response.read())
    assert beats >= 2
    assert others[-1] == b"data: [DONE]\n\n"


async def test_a_failure_behind_a_beat_is_an_event_without_done(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    asked = {**BODY, "demo": {"latency_ms": LATE_MS, "status": 422}}
    async with http.post(CHAT, json=asked) as response:
        assert response.status == 200
        beats, (last,) = events(await response.read())
    assert beats >= 2
    assert orjson.loads(last.removeprefix(b"data: "))["error"]["code"] == "unprocessable_entity"
    async with openai.AsyncOpenAI(
        api_key="x", base_url=f"{stack.rest}/v1", max_retries=0
    ) as client:
        with pytest.raises(openai.APIError):
            stream = await client.chat.completions.create(
                **BODY, extra_body={"demo": asked["demo"]}
            )
            _ = [chunk async for chunk in stream]


async def test_a_failure_in_time_keeps_its_status(http: aiohttp.ClientSession) -> None:
    async with http.post(CHAT, json={**BODY, "demo": {"status": 422}}) as response:
        assert response.status == 422


@pytest.mark.parametrize("model", [MODEL, "demo"], ids=["relayed", "translated"])
async def test_a_late_stream_of_messages_pings_first_and_the_official_client_reads_it(
    stack: Stack, http: aiohttp.ClientSession, upstream: AnthropicUpstream, model: str
) -> None:
    upstream.script = Script(STREAM, headers=EVENT_STREAM, delay_s=LATE_MS / 1000)
    asked: Any = {"model": model, "max_tokens": 50, "messages": HELLO}
    with behaving(stack, first={"latency_ms": LATE_MS}):
        async with http.post("/v1/messages", json={**asked, "stream": True}) as response:
            assert response.status == 200
            assert response.headers["request-id"]
            assert await response.content.readuntil(b"\n\n") == PING
            text = PING + await response.read()
        async with (
            anthropic.AsyncAnthropic(base_url=stack.rest, api_key="x", max_retries=0) as client,
            client.messages.stream(**asked) as stream,
        ):
            message = await stream.get_final_message()
    beats, others = events(text, PING)
    assert beats >= 2
    assert others[0].startswith(b"event: message_start")
    assert others[-1].startswith(b"event: message_stop")
    assert message.stop_reason == "end_turn"
    if model == MODEL:
        assert b"".join(others) == b"".join(STREAM), "the provider's bytes stay as they are"


async def test_a_relayed_stream_pings_between_its_events(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script(STREAM[:3], headers=EVENT_STREAM, pause_s=0.4, end="reset")
    asked = {"model": MODEL, "max_tokens": 50, "messages": HELLO, "stream": True}
    async with http.post("/v1/messages", json=asked) as response:
        found = [event + b"\n\n" for event in (await response.read()).split(b"\n\n") if event]
    told = [event for event in found if event != PING]
    assert told[:-1] == list(STREAM[:3])
    assert told[-1].startswith(b"event: error")
    assert found.index(told[1]) >= 2, "between the first and the second"


async def test_a_failure_behind_a_ping_is_the_official_clients_error(
    stack: Stack, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script([b"{}"], 500, delay_s=LATE_MS / 1000)
    async with anthropic.AsyncAnthropic(base_url=stack.rest, api_key="x", max_retries=0) as client:
        with pytest.raises(anthropic.APIStatusError) as failed:
            async with client.messages.stream(model=MODEL, max_tokens=50, messages=HELLO) as stream:
                await stream.get_final_message()
    assert failed.value.type == "api_error"
