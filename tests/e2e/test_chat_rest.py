"""Chats over REST, by the official SDK and by raw bytes, to an upstream that is watched."""

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import openai
import pytest

from tests.support.stack import KEY, Stack

HELLO: Any = [{"role": "user", "content": "Say hello!"}]


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack.rest) as session:
        yield session


def sdk(stack: Stack) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="unused", base_url=f"{stack.rest}/v1", max_retries=0)


async def test_the_sdk_gets_an_answer(stack: Stack) -> None:
    async with sdk(stack) as client:
        answer = await client.chat.completions.create(model="demo", messages=HELLO)
    assert "[demo]" in (answer.choices[0].message.content or "")
    assert answer.usage is not None
    assert answer.usage.total_tokens > 0


async def test_streamed_text_equals_the_whole(stack: Stack) -> None:
    async with sdk(stack) as client:
        whole = await client.chat.completions.create(model="demo", messages=HELLO)
        stream = await client.chat.completions.create(
            model="demo", messages=HELLO, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


async def test_the_request_arrives_byte_for_byte(stack: Stack, http: aiohttp.ClientSession) -> None:
    body = (
        b'{ "zeta":1e0,"messages" : [ {"content":"h\\u00e9llo","role":"user","x":0.10} ],'
        b' "temperature":1.0, "model":"demo","unknown":{"b":[1,2.50,null],"a":1E2} }'
    )
    async with http.post("/v1/chat/completions", data=body) as response:
        assert response.status == 200
    assert stack.upstream.last().body == body


async def test_the_answer_arrives_byte_for_byte(stack: Stack, http: aiohttp.ClientSession) -> None:
    request = {"model": "demo", "messages": HELLO}
    async with http.post("/v1/chat/completions", json=request) as response:
        relayed = await response.json()
    async with (
        aiohttp.ClientSession() as direct,
        direct.post(f"{stack.upstream.url}/chat/completions", json=request) as response,
    ):
        straight = await response.json()
    relayed.pop("created"), straight.pop("created")
    assert json.dumps(relayed) == json.dumps(straight)
    assert relayed["system_fingerprint"] == "demo"


async def test_own_fields_never_reach_the_upstream(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    kept = b'"keep":1.50,"messages":[{"role":"user","content":"session_id"}]'
    body = b'{"session_id":"never-seen", "model":"demo","rag_top_k":null,' + kept + b"}"
    async with http.post("/v1/chat/completions", data=body) as response:
        assert response.status == 200
    assert stack.upstream.last().body == b'{"model":"demo",' + kept + b"}"


async def test_the_answer_tells_who_answered(stack: Stack, http: aiohttp.ClientSession) -> None:
    async with http.post(
        "/v1/chat/completions", json={"model": "openai/demo", "messages": HELLO}
    ) as response:
        headers = response.headers
        assert response.status == 200
    assert headers["x-ailb-provider"] == "openai"
    assert headers["x-ailb-model"] == "demo"
    assert float(headers["x-ailb-overhead-ms"]) >= 0
    assert headers["x-request-id"]
    assert json.loads(stack.upstream.last().body)["model"] == "demo"


async def test_the_upstream_gets_its_own_credential_only(
    stack: Stack, http: aiohttp.ClientSession
) -> None:
    headers = {"Authorization": "Bearer the-callers-own", "Cookie": "a=b"}
    async with http.post(
        "/v1/chat/completions", json={"model": "demo", "messages": HELLO}, headers=headers
    ) as response:
        assert response.status == 200
    received = stack.upstream.last().headers
    assert received["authorization"] == f"Bearer {KEY}"
    assert "cookie" not in received
    assert not [name for name in received if name.lower().startswith("x-stainless")]


@pytest.mark.parametrize("include_usage", [True, False, None])
async def test_usage_is_streamed_only_if_asked_for(
    stack: Stack, http: aiohttp.ClientSession, *, include_usage: bool | None
) -> None:
    request: dict[str, object] = {"model": "demo", "messages": HELLO, "stream": True}
    if include_usage is not None:
        request["stream_options"] = {"include_usage": include_usage}
    async with http.post("/v1/chat/completions", json=request) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    assert ('"usage"' in text) is bool(include_usage)
    assert json.loads(stack.upstream.last().body)["stream_options"]["include_usage"] is True


async def test_tools_images_and_schemas_pass(stack: Stack) -> None:
    tool: Any = {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
    async with sdk(stack) as client:
        called = await client.chat.completions.create(
            model="demo", messages=HELLO, tools=[tool], tool_choice="required"
        )
        stream = await client.chat.completions.create(
            model="demo-tools", messages=HELLO, tools=[tool], stream=True
        )
        deltas = [c.choices[0].delta async for c in stream if c.choices]
    assert called.choices[0].message.tool_calls
    calls = [call for delta in deltas for call in delta.tool_calls or ()]
    assert calls[0].function is not None
    assert calls[0].function.name == "weather"
    json.loads("".join(c.function.arguments or "" for c in calls if c.function))


async def test_several_answers_logprobs_and_images_pass(stack: Stack) -> None:
    image: Any = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    content: Any = [{"type": "text", "text": "What is it?"}, image]
    async with sdk(stack) as client:
        answer = await client.chat.completions.create(
            model="demo",
            messages=[{"role": "user", "content": content}],
            n=2,
            logprobs=True,
            top_logprobs=1,
        )
    assert [choice.index for choice in answer.choices] == [0, 1]
    assert answer.choices[0].logprobs is not None
    assert "image" in (answer.choices[0].message.content or "")


async def test_a_thirty_megabyte_body_passes(stack: Stack, http: aiohttp.ClientSession) -> None:
    text = "x" * 30_000_000
    request = {"model": "demo", "messages": [{"role": "user", "content": text}], "max_tokens": 3}
    async with http.post("/v1/chat/completions", json=request) as response:
        assert response.status == 200
    assert len(stack.upstream.last().body) > 30_000_000
