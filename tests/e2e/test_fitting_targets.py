"""A group of unlike providers: what one cannot do, another does, and what none can is named."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import openai
import orjson
import pytest

from ailb_server.settings import ProviderSettings
from tests.e2e.test_stats import get
from tests.support.anthropic_upstream import MODEL, TOO_LONG, AnthropicUpstream, Script, error_body
from tests.support.loop_thread import LoopThread
from tests.support.stack import Stack

CHAT = "/v1/chat/completions"
HELLO: Any = [{"role": "user", "content": "hello"}]
SMALL = "claude-small"
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[AnthropicUpstream]:
    loop = LoopThread()
    server = AnthropicUpstream(models=[{"id": MODEL}, {"id": SMALL}])
    loop.run(server.__aenter__())
    try:
        yield server
    finally:
        loop.run(server.__aexit__(None, None, None))
        loop.stop()


@pytest.fixture(scope="module")
def stack(postgres_server: str, upstream: AnthropicUpstream) -> Iterator[Stack]:
    claude = {
        "name": "claude",
        "kind": "anthropic",
        "base_url": upstream.url,
        "api_key": "sk-ant-x",
        "capabilities": {MODEL: {"context": 2000}, SMALL: {"context": 1000}},
    }
    aliases = {
        "mixed": (f"claude/{MODEL}", "openai/demo"),
        "shrinking": (f"claude/{MODEL}", f"claude/{SMALL}"),
        "growing": (f"claude/{SMALL}", f"claude/{MODEL}", "openai/demo"),
        "claude-only": (f"claude/{MODEL}", f"claude/{SMALL}"),
    }
    with Stack(
        postgres_server,
        extra=(ProviderSettings.model_validate(claude),),
        aliases=aliases,
        settings={"routing_strategy": "failover"},
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def unscripted(upstream: AnthropicUpstream) -> Iterator[None]:
    upstream.received.clear()
    yield
    upstream.script = None


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    base_url = f"{stack.rest}/v1"
    async with openai.AsyncOpenAI(api_key="x", base_url=base_url, max_retries=0) as sdk:
        yield sdk


def refusing_length() -> Script:
    return Script([error_body("invalid_request_error", TOO_LONG)], 400, JSON)


async def test_a_prompt_too_long_goes_to_the_larger(
    client: openai.AsyncOpenAI, upstream: AnthropicUpstream
) -> None:
    upstream.script = refusing_length()
    for _ in range(8):
        raw = await client.chat.completions.with_raw_response.create(
            model="growing", messages=HELLO
        )
        assert raw.headers["x-ailb-provider"] == "openai"
    asked = [received.body["model"] for received in upstream.received]
    assert asked == [SMALL, MODEL] * 8, "nobody is dark: each request asks them anew"


async def test_a_prompt_too_long_for_the_largest_is_told_in_the_providers_words(
    client: openai.AsyncOpenAI, upstream: AnthropicUpstream, stack: Stack
) -> None:
    upstream.script = refusing_length()
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="shrinking", messages=HELLO)
    assert refused.value.code == "context_length_exceeded"
    assert refused.value.body == {
        "message": TOO_LONG,
        "type": "invalid_request_error",
        "param": None,
        "code": "context_length_exceeded",
    }
    assert [received.body["model"] for received in upstream.received] == [MODEL]
    async with aiohttp.ClientSession(stack.rest) as http:
        body = {"model": "shrinking", "messages": HELLO, "max_tokens": 9}
        async with http.post("/v1/messages", json=body) as response:
            assert response.status == 400
            assert await response.read() == error_body("invalid_request_error", TOO_LONG)
        stats = await get(http, "/api/routing/stats")
    told = {t["model"]: t for t in stats["targets"]}[MODEL]
    assert (told["blocked_by"], told["failed_requests"]) == ("", 0)


async def test_an_operation_goes_to_those_who_have_it(
    client: openai.AsyncOpenAI, upstream: AnthropicUpstream
) -> None:
    embedded = await client.embeddings.create(model="mixed", input="hello")
    assert embedded.data[0].embedding
    completed = await client.completions.create(model="mixed", prompt="hello")
    assert completed.choices[0].text
    assert upstream.received == []
    with pytest.raises(openai.BadRequestError, match="has no embeddings") as refused:
        await client.embeddings.create(model="claude-only", input="hello")
    assert refused.value.param == "model"
    assert "`claude-only`" in refused.value.message


async def test_what_one_provider_cannot_say_goes_to_one_that_can(
    client: openai.AsyncOpenAI, upstream: AnthropicUpstream
) -> None:
    raw = await client.chat.completions.with_raw_response.create(model="mixed", messages=HELLO, n=2)
    assert raw.headers["x-ailb-provider"] == "openai"
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="claude-only", messages=HELLO, n=2)
    assert refused.value.param == "n"
    assert upstream.received == []


async def test_what_is_malformed_goes_nowhere(
    client: openai.AsyncOpenAI, stack: Stack, upstream: AnthropicUpstream
) -> None:
    before = len(stack.upstream.received)
    malformed: Any = [{"role": "user", "content": [{"type": "text"}]}]
    with pytest.raises(openai.BadRequestError) as refused:
        await client.chat.completions.create(model="mixed", messages=malformed)
    assert refused.value.param == "messages[0].content[0].text"
    assert (upstream.received, len(stack.upstream.received)) == ([], before)


async def test_a_refused_credential_keeps_all_of_the_provider_out(
    postgres_server: str, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script([error_body("authentication_error", "no")], 401, JSON)
    claude = ProviderSettings.model_validate(
        {"name": "claude", "kind": "anthropic", "base_url": upstream.url, "api_key": "sk-old"}
    )
    aliases = {
        "one": (f"claude/{MODEL}", "openai/demo"),
        "two": (f"claude/{SMALL}", "openai/demo"),
    }
    settings = {"routing_strategy": "failover"}
    with Stack(postgres_server, extra=(claude,), aliases=aliases, settings=settings) as stack:
        async with aiohttp.ClientSession(stack.rest) as http:
            for model in ("one", "two", "two", "one"):
                async with http.post(CHAT, json={"model": model, "messages": HELLO}) as response:
                    assert response.status == 200
                    assert response.headers["x-ailb-provider"] == "openai"
            stats = await get(http, "/api/routing/stats")
            health = await get(http, "/healthz")
    assert len(upstream.received) == 1
    blocked = {t["model"]: t["blocked_by"] for t in stats["targets"] if t["provider"] == "claude"}
    assert blocked == {MODEL: "credential", SMALL: "credential"}
    assert "refuses AILB's credential" in orjson.dumps(health).decode()
