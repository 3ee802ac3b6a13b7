"""The official openai SDK against the demo provider: its types accept every answer."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable

import openai as sdk
import orjson
import pytest
from openai import AsyncOpenAI, BaseModel
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)

from ailb_server.demo.received import Received

HELLO: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Say hello"}]
ANSWER = '[demo] You said: "Say hello"'


def tool(name: str) -> ChatCompletionToolParam:
    parameters: dict[str, object] = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city"],
    }
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


def assert_faithful(answer: BaseModel) -> None:
    """Valid by the SDK's own types, without a field they do not know."""
    type(answer).model_validate(answer.to_dict(), strict=True)
    assert not answer.model_extra


def text_of(chunks: Iterable[ChatCompletionChunk], index: int = 0) -> str:
    deltas = (c.delta for chunk in chunks for c in chunk.choices if c.index == index)
    return "".join(delta.content or "" for delta in deltas)


async def test_a_plain_chat(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(model="demo", messages=HELLO)
    assert_faithful(answer)
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.created, answer.system_fingerprint) == (1_750_000_000, "demo")
    assert answer.id.startswith("chatcmpl-demo-")
    assert answer._request_id == answer.id.replace("chatcmpl-demo-", "req_demo_")


async def test_streamed_and_not_say_and_count_the_same(openai: AsyncOpenAI) -> None:
    whole = await openai.chat.completions.create(model="demo", messages=HELLO, n=2, logprobs=True)
    stream = await openai.chat.completions.create(
        model="demo",
        messages=HELLO,
        n=2,
        logprobs=True,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    for chunk in chunks:
        assert_faithful(chunk)
    for choice in whole.choices:
        assert text_of(chunks, choice.index) == choice.message.content
    assert [c.delta.role for chunk in chunks[:2] for c in chunk.choices] == ["assistant"] * 2
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
    assert whole.usage is not None
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
    scores = [c.logprobs for chunk in chunks for c in chunk.choices if c.index == 1 and c.logprobs]
    spoken = [token.token for score in scores for token in score.content or []]
    assert whole.choices[1].logprobs is not None
    assert [t.token for t in whole.choices[1].logprobs.content or []] == spoken


async def test_logprobs_with_alternatives(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="demo", messages=HELLO, logprobs=True, top_logprobs=3
    )
    assert_faithful(answer)
    assert answer.choices[0].logprobs is not None
    tokens = answer.choices[0].logprobs.content or []
    assert "".join(token.token for token in tokens) == ANSWER
    assert bytes(b for token in tokens for b in token.bytes or []).decode() == ANSWER
    assert {len(token.top_logprobs) for token in tokens} == {3}


async def test_length_and_stop(openai: AsyncOpenAI) -> None:
    create = openai.chat.completions.create
    short = await create(model="demo", messages=HELLO, max_completion_tokens=2)
    assert short.choices[0].message.content == "[demo] You"
    assert short.choices[0].finish_reason == "length"
    assert short.usage is not None
    assert short.usage.completion_tokens == 2
    cut = await create(model="demo", messages=HELLO, stop=["hello", "Say"])
    assert cut.choices[0].message.content == '[demo] You said: "'
    assert cut.choices[0].finish_reason == "stop"


async def test_a_required_tool_is_called(openai: AsyncOpenAI) -> None:
    answer = await openai.chat.completions.create(
        model="demo",
        messages=HELLO,
        tools=[tool("weather"), tool("tides")],
        tool_choice={"type": "function", "function": {"name": "tides"}},
    )
    assert_faithful(answer)
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.choices[0].message.content is None
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, orjson.loads(call.function.arguments)) == (
        "tides",
        {"city": "demo"},
    )


async def test_streamed_calls_come_as_id_and_name_then_fragments(openai: AsyncOpenAI) -> None:
    stream = await openai.chat.completions.create(
        model="demo-tools",
        messages=HELLO,
        tools=[tool("weather"), tool("tides")],
        stream=True,
        extra_body={"demo": {"tool_calls": 2}},
    )
    deltas = [d async for chunk in stream for d in chunk.choices[0].delta.tool_calls or []]
    heads = [d for d in deltas if d.id]
    assert [(d.index, d.function and d.function.name) for d in heads] == [
        (0, "weather"),
        (1, "tides"),
    ]
    assert [d.function and d.function.arguments for d in heads] == ["", ""]
    for index in (0, 1):
        mine = [d.function for d in deltas if d.index == index and d.function]
        assert len(mine) > 2
        assert orjson.loads("".join(f.arguments or "" for f in mine)) == {"city": "demo"}


async def test_tools_are_called_only_when_they_must_be(openai: AsyncOpenAI) -> None:
    create = openai.chat.completions.create
    idle = await create(model="demo", messages=HELLO, tools=[tool("weather")])
    forbidden = await create(
        model="demo-tools", messages=HELLO, tools=[tool("weather")], tool_choice="none"
    )
    for answer in (idle, forbidden):
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].message.content == ANSWER


async def test_json_answers(openai: AsyncOpenAI) -> None:
    create = openai.chat.completions.create
    loose = await create(model="demo", messages=HELLO, response_format={"type": "json_object"})
    assert orjson.loads(loose.choices[0].message.content or "")["demo"] is True
    schema = {
        "type": "object",
        "properties": {"name": {"type": "string"}, "tags": {"type": "array", "minItems": 1}},
        "required": ["name", "tags"],
        "additionalProperties": False,
    }
    strict = await create(
        model="demo",
        messages=HELLO,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )
    assert orjson.loads(strict.choices[0].message.content or "") == {"name": "demo", "tags": [None]}


async def test_usage_can_be_prescribed(openai: AsyncOpenAI) -> None:
    counts = {
        "prompt_tokens": 100,
        "completion_tokens": 20,
        "cached_tokens": 64,
        "cache_write_tokens": 8,
        "reasoning_tokens": 5,
    }
    answer = await openai.chat.completions.create(
        model="demo", messages=HELLO, extra_body={"demo": {"usage": counts}}
    )
    assert_faithful(answer)
    usage = answer.usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert usage.completion_tokens_details is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.prompt_tokens_details.cached_tokens == 64
    assert usage.prompt_tokens_details.cache_write_tokens == 8
    assert usage.completion_tokens_details.reasoning_tokens == 5


async def test_embeddings_as_floats_and_as_base64_agree(openai: AsyncOpenAI) -> None:
    floats = await openai.embeddings.create(
        model="demo", input=["Grüße", "a b"], dimensions=8, encoding_format="float"
    )
    assert_faithful(floats)
    packed = await openai.with_raw_response.embeddings.create(
        model="demo", input=["Grüße", "a b"], dimensions=8, encoding_format="base64"
    )
    for left, right in zip(floats.data, orjson.loads(packed.content)["data"], strict=True):
        numbers = struct.unpack("<8f", base64.b64decode(right["embedding"]))
        assert list(numbers) == left.embedding
    usual = await openai.embeddings.create(model="demo", input="one")
    assert len(usual.data[0].embedding) == 1536


async def test_models(openai: AsyncOpenAI) -> None:
    listed = [model async for model in openai.models.list()]
    assert [model.id for model in listed] == [
        "demo",
        "demo-slow",
        "demo-long",
        "demo-tools",
        "demo-echo",
        "demo-error",
        "vendor/model:tag",
    ]
    for model in listed:
        assert_faithful(model)
        assert model.owned_by == "ailb-demo"
        assert await openai.models.retrieve(model.id) == model
    with pytest.raises(sdk.NotFoundError) as missing:
        await openai.models.retrieve("nope")
    assert missing.value.code == "model_not_found"


async def test_the_older_completions(openai: AsyncOpenAI) -> None:
    whole = await openai.completions.create(model="demo", prompt="Say hello")
    assert_faithful(whole)
    stream = await openai.completions.create(model="demo", prompt="Say hello", stream=True)
    parts = [chunk.choices[0].text async for chunk in stream]
    assert "".join(parts) == whole.choices[0].text == ANSWER
    assert len(parts) > 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, sdk.BadRequestError),
        (401, sdk.AuthenticationError),
        (403, sdk.PermissionDeniedError),
        (404, sdk.NotFoundError),
        (408, sdk.APIStatusError),
        (409, sdk.ConflictError),
        (422, sdk.UnprocessableEntityError),
        (429, sdk.RateLimitError),
        (500, sdk.InternalServerError),
        (502, sdk.InternalServerError),
        (503, sdk.InternalServerError),
        (529, sdk.InternalServerError),
    ],
)
async def test_statuses(openai: AsyncOpenAI, status: int, error: type[sdk.APIStatusError]) -> None:
    wish = {"status": status, "headers": {"Retry-After": "7"}}
    with pytest.raises(error) as caught:
        await openai.chat.completions.create(
            model="demo", messages=HELLO, extra_body={"demo": wish}
        )
    assert caught.value.status_code == status
    assert caught.value.response.headers["retry-after"] == "7"
    assert caught.value.type
    assert "[demo]" in str(caught.value)


async def test_the_error_model_fails(openai: AsyncOpenAI) -> None:
    with pytest.raises(sdk.InternalServerError):
        await openai.chat.completions.create(model="demo-error", messages=HELLO)


async def test_raw_bodies_are_sent_as_they_are(openai: AsyncOpenAI) -> None:
    raw = openai.with_raw_response.chat.completions
    body = '{"z": 1.0, "a": 1e2,\n "choices": [], "big": 123456789012345678901234567890}'
    answer = await raw.create(model="demo", messages=HELLO, extra_body={"demo": {"body": body}})
    assert answer.content == body.encode()
    with pytest.raises(sdk.BadRequestError) as caught:
        await raw.create(
            model="demo",
            messages=HELLO,
            extra_body={"demo": {"status": 400, "error_body": "not JSON"}},
        )
    assert caught.value.response.text == "not JSON"


async def test_the_observer_sees_the_bytes(openai: AsyncOpenAI, seen: list[Received]) -> None:
    await openai.chat.completions.create(
        model="vendor/model:tag", messages=HELLO, extra_body={"strange": {"ß": [1, None]}}
    )
    (received,) = seen
    assert (received.method, received.path) == ("POST", "/v1/chat/completions")
    assert received.headers["AUTHORIZATION"] == "Bearer any"
    assert '"strange":{"ß":[1,null]}'.encode() in received.body
    assert received.finished
    assert not received.aborted
