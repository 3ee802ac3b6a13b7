"""Anthropic's Messages API through the whole path, by the official client and by raw bytes."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import anthropic
import grpc
import orjson
import pytest

from ailb.anthropic.v1 import anthropic_service_pb2 as pb
from ailb.anthropic.v1 import anthropic_service_pb2_grpc
from ailb_server.settings import ProviderSettings
from tests.support.anthropic_upstream import (
    COUNTED,
    EVENT_STREAM,
    MESSAGE,
    MODEL,
    STREAM,
    AnthropicUpstream,
    Script,
    error_body,
    sse,
)
from tests.support.loop_thread import LoopThread
from tests.support.stack import Stack, eventually

HELLO: Any = [{"role": "user", "content": "Say hello!"}]
ASKED: Any = {"max_tokens": 100, "messages": HELLO}
WEATHER: Any = {
    "name": "weather",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
JSON = {"content-type": "application/json"}


def start(index: int, block: dict[str, Any]) -> bytes:
    return sse({"type": "content_block_start", "index": index, "content_block": block})


def delta(index: int, **said: Any) -> bytes:
    return sse({"type": "content_block_delta", "index": index, "delta": said})


def stop(index: int) -> bytes:
    return sse({"type": "content_block_stop", "index": index})


THOUGHTFUL = (
    STREAM[0],
    start(0, {"type": "thinking", "thinking": "", "signature": ""}),
    delta(0, type="thinking_delta", thinking="Hm."),
    delta(0, type="signature_delta", signature="c2ln"),
    stop(0),
    b": a comment\n\n",
    start(1, {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}}),
    delta(1, type="input_json_delta", partial_json='{"city":'),
    sse({"type": "ping"}),
    delta(1, type="input_json_delta", partial_json=' "Bonn"}'),
    stop(1),
    sse({"type": "of_the_future", "x": 1.50}),
    sse(
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": {"output_tokens": 9},
        }
    ),
    STREAM[-1],
)

# A 429 cools its target, so it gets one that no other test asks.
LIMITED = "claude-limited"


@pytest.fixture(scope="module")
def upstream() -> Iterator[AnthropicUpstream]:
    loop = LoopThread()
    server = AnthropicUpstream(models=[{"id": MODEL, "max_tokens": 64_000}, {"id": LIMITED}])
    loop.run(server.__aenter__())
    try:
        yield server
    finally:
        loop.run(server.__aexit__(None, None, None))
        loop.stop()


@pytest.fixture(scope="module")
def stack(postgres_server: str, upstream: AnthropicUpstream) -> Iterator[Stack]:
    settings = ProviderSettings.model_validate(
        {"name": "claude", "kind": "anthropic", "base_url": upstream.url, "api_key": "sk-ant-x"}
    )
    aliases = {
        "relay-first": (f"claude/{MODEL}", "openai/demo"),
        "relay-second": ("openai/demo", f"claude/{MODEL}"),
        "relay-last": ("openai/demo-error", f"claude/{MODEL}"),
    }
    with Stack(
        postgres_server,
        extra=(settings,),
        aliases=aliases,
        settings={"routing_strategy": "failover"},
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def unscripted(upstream: AnthropicUpstream) -> Iterator[None]:
    yield
    upstream.script = None


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(base_url=stack.rest, api_key="x", max_retries=0) as sdk:
        yield sdk


@pytest.fixture
async def http(stack: Stack) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(stack.rest) as session:
        yield session


async def test_the_sdk_gets_a_relayed_answer(client: anthropic.AsyncAnthropic) -> None:
    raw = await client.messages.with_raw_response.create(model=MODEL, **ASKED)
    answer = await raw.parse()
    assert answer.to_dict() == {**MESSAGE, "model": MODEL}
    assert raw.headers["x-ailb-provider"] == "claude"
    assert raw.headers["request-id"] == raw.headers["x-request-id"]
    assert "x-ailb-ignored-params" not in raw.headers


async def test_a_request_is_relayed_byte_for_byte(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    body = (
        b'{ "zeta":1e0,"max_tokens" : 7, "messages" : [ {"content":"h\\u00e9llo","role":"user",'
        b'"x":0.10} ], "model":"' + MODEL.encode() + b'","mcp_servers":[{"b":[1,2.50,null]}] }'
    )
    headers = {"anthropic-version": "2026-10-21", "anthropic-beta": "a-1,b-2", "x-api-key": "mine"}
    async with http.post("/v1/messages?beta=true", data=body, headers=headers) as response:
        assert response.status == 200
    received = upstream.received[-1]
    assert received.raw == body
    sent = {name.lower(): value for name, value in received.headers.items()}
    assert sent["anthropic-beta"] == "a-1,b-2"
    assert sent["authorization"] == "Bearer sk-ant-x"
    assert "x-api-key" not in sent


async def test_only_the_name_and_own_fields_are_edited(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    kept = b'"messages":[{"role":"user","content":"session_id"}],"max_tokens":1e1'
    body = b'{"session_id":"s", "model":"claude/' + MODEL.encode() + b'",' + kept + b"}"
    async with http.post("/v1/messages", data=body) as response:
        assert response.status == 200
    assert upstream.received[-1].raw == b'{"model":"' + MODEL.encode() + b'",' + kept + b"}"


async def test_answers_are_relayed_byte_for_byte(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    whole = b'{ "new": 1.50,' + orjson.dumps(MESSAGE)[1:]
    upstream.script = Script([whole], headers=JSON)
    async with http.post("/v1/messages", json={"model": MODEL, **ASKED}) as response:
        assert await response.read() == whole
    upstream.script = Script(THOUGHTFUL, headers=EVENT_STREAM)
    asked = {"model": MODEL, "stream": True, **ASKED}
    async with http.post("/v1/messages", json=asked) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert await response.read() == b"".join(THOUGHTFUL)


async def test_a_relayed_stream_with_thinking_and_tools(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script(THOUGHTFUL, headers=EVENT_STREAM)
    async with client.messages.stream(model=MODEL, tools=[WEATHER], **ASKED) as stream:
        message = await stream.get_final_message()
    thinking, call = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("Hm.", "c2ln")
    assert call.type == "tool_use"
    assert call.input == {"city": "Bonn"}
    assert message.usage.output_tokens == 9


async def test_a_translated_answer(client: anthropic.AsyncAnthropic, stack: Stack) -> None:
    raw = await client.messages.with_raw_response.create(
        model="demo",
        system="Be brief.",
        stop_sequences=["END"],
        thinking={"type": "adaptive"},
        metadata={"user_id": "u" * 65},
        **ASKED,
    )
    answer = await raw.parse()
    (text,) = answer.content
    assert text.type == "text"
    assert "[demo]" in text.text
    assert answer.id.startswith("msg_")
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0
    assert raw.headers["x-ailb-provider"] == "openai"
    assert raw.headers["x-ailb-ignored-params"] == "thinking"
    sent = orjson.loads(stack.upstream.last().body)
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (sent["max_completion_tokens"], sent["stop"], len(sent["user"])) == (100, ["END"], 64)


async def test_a_translated_stream_equals_the_whole(client: anthropic.AsyncAnthropic) -> None:
    whole = await client.messages.create(model="demo", **ASKED)
    async with client.messages.stream(model="demo", **ASKED) as stream:
        kinds = [event.type async for event in stream]
        message = await stream.get_final_message()
    assert [b.to_dict() for b in message.content] == [b.to_dict() for b in whole.content]
    assert (message.usage, message.stop_reason) == (whole.usage, whole.stop_reason)
    assert (kinds[0], kinds[-1]) == ("message_start", "message_stop")


async def test_a_translated_tool_call_and_its_result(
    client: anthropic.AsyncAnthropic, stack: Stack
) -> None:
    choice: Any = {"type": "any", "disable_parallel_tool_use": True}
    async with client.messages.stream(
        model="demo", tools=[WEATHER], tool_choice=choice, **ASKED
    ) as stream:
        message = await stream.get_final_message()
    assert message.stop_reason == "tool_use"
    (call,) = message.content
    assert call.type == "tool_use"
    assert call.name == "weather"
    result: Any = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    turns: Any = [
        *HELLO,
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": [result]},
    ]
    answer = await client.messages.create(
        model="demo", tools=[WEATHER], messages=turns, max_tokens=9
    )
    assert answer.content
    sent = orjson.loads(stack.upstream.last().body)
    assert sent["messages"][-1] == {"role": "tool", "tool_call_id": call.id, "content": "sunny"}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_relay_fails_over_to_a_translation(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream, *, stream: bool
) -> None:
    upstream.script = Script([error_body("overloaded_error", "busy")], 529, JSON)
    if stream:
        async with client.messages.stream(model="relay-first", **ASKED) as events:
            answer = await events.get_final_message()
    else:
        answer = await client.messages.create(model="relay-first", **ASKED)
    assert answer.content[0].type == "text"
    assert "[demo]" in answer.content[0].text


async def test_a_relay_that_breaks_before_its_first_event_fails_over(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script([STREAM[1], STREAM[0][:20]], headers=EVENT_STREAM, end="reset")
    async with client.messages.stream(model="relay-first", **ASKED) as events:
        answer = await events.get_final_message()
    assert answer.content[0].type == "text"
    assert "[demo]" in answer.content[0].text


async def test_a_translation_fails_over_to_a_relay(http: aiohttp.ClientSession) -> None:
    asked = {"model": "relay-last", "stream": True, **ASKED}
    async with http.post("/v1/messages", json=asked) as response:
        assert await response.read() == b"".join(STREAM)
        assert response.headers["x-ailb-provider"] == "claude"


SEARCH: Any = [{"type": "web_search_20250305", "name": "web_search"}]


async def test_what_only_anthropic_can_do_goes_to_anthropic(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    raw = await client.messages.with_raw_response.create(
        model="relay-second", tools=SEARCH, **ASKED
    )
    assert raw.headers["x-ailb-provider"] == "claude"
    upstream.script = Script([error_body("overloaded_error", "busy")], 529, JSON)
    for model in ("relay-first", "relay-second"):
        with pytest.raises(anthropic.InternalServerError) as failed:
            await client.messages.create(model=model, tools=SEARCH, **ASKED)
        assert failed.value.status_code == 503


async def test_a_conversation_begun_elsewhere_goes_on_at_anthropic(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    thought: Any = {"type": "thinking", "thinking": "Hm.", "signature": ""}
    said: Any = {"role": "assistant", "content": [thought, {"type": "text", "text": "Hi."}]}
    await client.messages.create(model=MODEL, max_tokens=9, messages=[*HELLO, said, *HELLO])
    sent = upstream.received[-1].body["messages"][1]
    assert sent == {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}


async def test_grpc_callers_get_the_same_and_grpcs_errors(stack: Stack) -> None:
    async with grpc.aio.insecure_channel(stack.grpc) as channel:
        stub = anthropic_service_pb2_grpc.AnthropicServiceStub(channel)
        request = pb.CreateMessageRequest()
        request.body.data = orjson.dumps({"model": MODEL, "stream": True, **ASKED})
        bodies = [body.data async for body in stub.CreateMessage(request)]
        assert b"".join(bodies) == b"".join(STREAM)
        counting = pb.CountTokensRequest()
        counting.body.data = orjson.dumps({"model": "none-such", "messages": HELLO})
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.CountTokens(counting)
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND
        request.body.data = b"{"
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            _ = [body async for body in stub.CreateMessage(request)]
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_tokens_are_counted_where_they_can_be(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream, http: aiohttp.ClientSession
) -> None:
    counted = await client.messages.count_tokens(model=MODEL, messages=HELLO)
    assert counted.input_tokens == 42
    assert upstream.received[-1].path == "/v1/messages/count_tokens"
    asked = {"model": MODEL, "messages": HELLO}
    async with http.post("/v1/messages/count_tokens", json=asked) as response:
        assert await response.read() == COUNTED
    with pytest.raises(anthropic.BadRequestError, match="`demo`"):
        await client.messages.count_tokens(model="demo", messages=HELLO)


async def test_errors_are_the_sdks_classes(client: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="none-such") as missing:
        await client.messages.create(model="none-such", **ASKED)
    assert missing.value.type == "not_found_error"
    assert missing.value.request_id
    body: Any = missing.value.body
    assert body["request_id"] == missing.value.request_id
    with pytest.raises(anthropic.BadRequestError) as refused:
        await client.messages.create(
            model="demo", tools=[{"type": "web_search_20250305", "name": "web_search"}], **ASKED
        )
    assert refused.value.type == "invalid_request_error"
    assert "tools[0].type" in refused.value.message


async def test_a_providers_failure(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    with pytest.raises(anthropic.InternalServerError) as failed:
        await client.messages.create(model="demo-error", **ASKED)
    assert (failed.value.status_code, failed.value.type) == (503, "api_error")
    limited = error_body("rate_limit_error", "slow down")
    upstream.script = Script([limited], 429, {**JSON, "retry-after": "7"})
    with pytest.raises(anthropic.RateLimitError) as slowed:
        await client.messages.create(model=LIMITED, **ASKED)
    assert slowed.value.type == "rate_limit_error"
    assert slowed.value.response.headers["retry-after"] == "7"


async def test_a_providers_refusal_is_relayed(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    refusal = b' {"x":1.0,' + error_body("invalid_request_error", "max_tokens: too large")[1:]
    upstream.script = Script([refusal], 400, JSON)
    async with http.post("/v1/messages", json={"model": MODEL, **ASKED}) as response:
        assert response.status == 400
        assert await response.read() == refusal


async def test_an_error_after_the_first_event_is_an_event(
    client: anthropic.AsyncAnthropic, upstream: AnthropicUpstream
) -> None:
    upstream.script = Script(STREAM[:4], headers=EVENT_STREAM, end="reset")
    with pytest.raises(anthropic.APIStatusError) as broken:
        async with client.messages.stream(model=MODEL, **ASKED) as stream:
            await stream.get_final_message()
    assert broken.value.type == "api_error"


async def test_a_client_that_leaves_cancels_the_upstream(
    http: aiohttp.ClientSession, upstream: AnthropicUpstream
) -> None:
    upstream.gone.clear()
    upstream.script = Script(STREAM[:4], headers=EVENT_STREAM, end="stall")
    asked = {"model": MODEL, "stream": True, **ASKED}
    async with http.post("/v1/messages", json=asked) as response:
        assert await response.content.readany()
        response.close()
    eventually(upstream.gone.is_set)
