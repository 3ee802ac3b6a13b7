"""OpenAI's older completions over REST, by the official SDK and by raw bytes."""

import json
from collections.abc import AsyncIterator

import aiohttp
import openai
import pytest

from tests.e2e.test_errors_rest import error_of
from tests.support.stack import Stack

PATH = "/v1/completions"


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack.rest) as session:
        yield session


def sdk(stack: Stack) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="unused", base_url=f"{stack.rest}/v1", max_retries=0)


async def test_streamed_text_equals_the_whole(stack: Stack) -> None:
    async with sdk(stack) as client:
        whole = await client.completions.create(model="demo", prompt="Say hello!")
        stream = await client.completions.create(model="demo", prompt="Say hello!", stream=True)
        chunks = [chunk async for chunk in stream]
    assert whole.choices[0].text
    assert whole.usage is not None
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert {chunk.usage for chunk in chunks} == {None}


async def test_bytes_are_kept(stack: Stack, http: aiohttp.ClientSession) -> None:
    body = b'{ "prompt" : [ "h\\u00e9" ],"x":1e0, "model":"openai/demo","rag_top_k":1 }'
    async with http.post(PATH, data=body) as response:
        assert response.status == 200
        assert response.headers["x-ailb-provider"] == "openai"
        assert response.headers["x-ailb-ignored-params"] == "rag_top_k"
        answer = await response.json()
    received = stack.upstream.received[-1]
    assert received.path == PATH
    assert received.body == b'{"prompt" : [ "h\\u00e9" ],"x":1e0,"model":"demo"}'
    assert answer["object"] == "text_completion"


@pytest.mark.parametrize("include_usage", [True, False])
async def test_usage_is_streamed_only_if_asked_for(
    stack: Stack, http: aiohttp.ClientSession, *, include_usage: bool
) -> None:
    options = {"stream": True, "stream_options": {"include_usage": include_usage}}
    async with http.post(PATH, json={"model": "demo", "prompt": "hi", **options}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = await response.text()
    assert text.endswith("data: [DONE]\n\n")
    assert ('"usage"' in text) is include_usage
    sent = json.loads(stack.upstream.received[-1].body)
    assert sent["stream_options"]["include_usage"] is True


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"prompt": 5}, 400, "prompt"),
        ({"stream": "yes"}, 400, "stream"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"demo": {"status": 500}}, 503, None),
        ({"demo": {"fault": "eof"}}, 503, None),
    ],
)
async def test_errors(
    http: aiohttp.ClientSession, fields: dict[str, object], status: int, param: str | None
) -> None:
    async with http.post(PATH, json={"model": "demo", "prompt": "hi", **fields}) as response:
        error = error_of(await response.json())
    assert (response.status, error["param"]) == (status, param)


async def test_a_stream_that_breaks_ends_with_its_error(http: aiohttp.ClientSession) -> None:
    demo = {"fault": "cut", "after": 2, "chunk_ms": 20}
    request = {"model": "demo", "prompt": "hi", "stream": True, "demo": demo}
    async with http.post(PATH, json=request) as response:
        events = (await response.text()).split("\n\n")
    error_of(json.loads(events[-2].removeprefix("data: ")))
