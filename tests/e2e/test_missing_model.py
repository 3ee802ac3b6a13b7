"""A model that its provider has no more: the next target answers, and the name is soon gone."""

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import AnyHttpUrl

from ailb_server.settings import ProviderSettings
from tests.support.loop_thread import LoopThread
from tests.support.ollama_upstream import OllamaUpstream, Script
from tests.support.stack import Stack

_MODEL = "llama3.2:3b"
_HELLO: Any = [{"role": "user", "content": "Say hello!"}]
_LOOKS = 300


@pytest.fixture
def ollama() -> Iterator[OllamaUpstream]:
    loop, upstream = LoopThread(), OllamaUpstream()
    loop.run(upstream.start())
    yield upstream
    loop.run(upstream.stop())
    loop.stop()


async def _is_gone(client: openai.AsyncOpenAI) -> bool:
    for _ in range(_LOOKS):
        if _MODEL not in [model.id async for model in client.models.list()]:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_a_model_that_is_gone_is_asked_elsewhere_and_no_longer_listed(
    postgres_server: str, ollama: OllamaUpstream
) -> None:
    provider = ProviderSettings(name="ollama", kind="ollama", base_url=AnyHttpUrl(ollama.url))
    with Stack(
        postgres_server,
        extra=(provider,),
        aliases={"smart": (f"ollama/{_MODEL}", "openai/demo")},
        settings={"routing_strategy": "failover", "provider_refresh_s": 3600},
    ) as stack:
        base_url = f"{stack.rest}/v1"
        async with openai.AsyncOpenAI(api_key="x", base_url=base_url, max_retries=0) as client:
            assert _MODEL in [model.id async for model in client.models.list()]
            told = f'{{"error":"model \'{_MODEL}\' not found"}}'.encode()
            ollama.script = Script(body=told, status=404)
            ollama.tags = Script(body=b'{"models":[]}')
            raw = await client.chat.completions.with_raw_response.create(
                model="smart", messages=_HELLO
            )
            assert raw.headers["x-ailb-provider"] == "openai"
            assert await _is_gone(client)
            with pytest.raises(openai.NotFoundError) as raised:
                await client.chat.completions.create(model=f"ollama/{_MODEL}", messages=_HELLO)
            assert raised.value.code == "model_not_found"
