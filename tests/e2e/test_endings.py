"""How a server's end reaches those it still serves: told so, never by silence."""

import asyncio
import json
from typing import Any

import aiohttp
import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from tests.support.stack import Stack

CHAT = "/v1/chat/completions"
LONG: Any = {"words": 5_000, "chunk_ms": 50}
BODY = {"model": "demo", "messages": [{"role": "user", "content": "hello"}]}


def reason(error: grpc.aio.AioRpcError) -> str:
    """The reason in the error's ErrorInfo."""
    trailing = dict(error.trailing_metadata() or ())
    status = Status.FromString(trailing["grpc-status-details-bin"])
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


@pytest.mark.parametrize("drained", [True, False], ids=["deadline", "second-signal"])
async def test_a_stream_cut_by_the_end_says_so(postgres_server: str, *, drained: bool) -> None:
    with Stack(postgres_server, settings={"drain_timeout_s": 0.2}) as stack:
        async with (
            aiohttp.ClientSession(stack.rest) as http,
            http.post(CHAT, json={**BODY, "stream": True, "demo": LONG}) as response,
        ):
            first = await response.content.readuntil(b"\n\n")
            assert first.startswith(b"data: ")
            if drained:
                await asyncio.to_thread(stack.loop.run, stack.gateway.drain())
            closing = asyncio.to_thread(stack.loop.run, stack.gateway.close())
            text, _ = await asyncio.gather(response.text(), closing)
    last = [event for event in text.split("\n\n") if event][-1]
    assert json.loads(last.removeprefix("data: "))["error"]["code"] == "shutting_down"
    assert "[DONE]" not in text


@pytest.mark.parametrize("path", [CHAT, "/v1/messages"])
async def test_each_of_many_streams_says_so_whatever_it_was_writing(
    postgres_server: str, path: str
) -> None:
    async def told(http: aiohttp.ClientSession, begun: asyncio.Event) -> str:
        body = {**BODY, "model": "demo-long", "max_tokens": 50_000, "stream": True}
        async with http.post(path, json=body) as response:
            await response.content.readuntil(b"\n\n")
            begun.set()
            text = await response.text()
        return [line for line in text.splitlines() if line][-1]

    with Stack(postgres_server) as stack:
        stack.loop.run(_paced(stack, chunk_ms=1))
        async with aiohttp.ClientSession(stack.rest) as http:
            begun = [asyncio.Event() for _ in range(20)]
            streams = [asyncio.create_task(told(http, event)) for event in begun]
            await asyncio.gather(*(event.wait() for event in begun))
            await asyncio.to_thread(stack.loop.run, stack.gateway.close())
            ends = await asyncio.gather(*streams)
    assert all("error" in json.loads(end.removeprefix("data: ")) for end in ends), ends


async def test_a_stream_of_messages_cut_by_the_end_says_so(postgres_server: str) -> None:
    with Stack(postgres_server) as stack:
        # `demo-long` at the pace that the upstream keeps: this face has no field `demo`.
        stack.loop.run(_paced(stack))
        body = {**BODY, "model": "demo-long", "max_tokens": 5_000, "stream": True}
        async with (
            aiohttp.ClientSession(stack.rest) as http,
            http.post("/v1/messages", json=body) as response,
        ):
            assert (await response.content.readuntil(b"\n\n")).startswith(b"event: message_start")
            closing = asyncio.to_thread(stack.loop.run, stack.gateway.close())
            text, _ = await asyncio.gather(response.text(), closing)
    last = [event for event in text.split("\n\n") if event][-1]
    assert last.startswith("event: error\n")
    assert "message_stop" not in text


async def _paced(stack: Stack, chunk_ms: int = 50) -> None:
    stack.upstream.server.behave({"chunk_ms": chunk_ms})


async def test_the_messages_face_heeds_the_callers_strategy(stack: Stack) -> None:
    async with (
        aiohttp.ClientSession(stack.rest) as http,
        http.post(
            "/v1/messages",
            json={**BODY, "max_tokens": 5},
            headers={"x-ailb-routing-strategy": "best"},
        ) as response,
    ):
        assert response.status == 400
        assert "strategy" in (await response.json())["error"]["message"]


async def test_a_typed_stream_cut_by_the_end_says_so(postgres_server: str) -> None:
    with Stack(postgres_server) as stack:
        async with grpc.aio.insecure_channel(stack.grpc) as channel:
            parameters = chat_pb2.ChatCompletionParameters(
                model="demo",
                messages=[
                    chat_pb2.Message(
                        role=chat_pb2.ROLE_USER, content=[chat_pb2.ContentPart(text="hello")]
                    )
                ],
            )
            parameters.additional_parameters.update({"demo": LONG})
            request = chat_service_pb2.StreamChatCompletionRequest(parameters=parameters)
            call = chat_service_pb2_grpc.ChatServiceStub(channel).StreamChatCompletion(request)
            answers = aiter(call)
            await anext(answers)
            closing = asyncio.create_task(asyncio.to_thread(stack.loop.run, stack.gateway.close()))
            with pytest.raises(grpc.aio.AioRpcError) as failure:
                async for _ in answers:
                    pass
            await closing
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert reason(failure.value) == "SHUTTING_DOWN"


async def test_while_it_drains_new_chats_are_refused_and_health_says_why(
    postgres_server: str,
) -> None:
    with Stack(postgres_server) as stack:
        async with aiohttp.ClientSession(stack.rest) as http:
            slow = {**BODY, "stream": True, "demo": {"words": 60, "chunk_ms": 50}}
            async with http.post(CHAT, json=slow) as running:
                await running.content.readuntil(b"\n\n")
                draining = asyncio.create_task(
                    asyncio.to_thread(stack.loop.run, stack.gateway.drain())
                )
                status = 200
                while status == 200:
                    async with http.get("/healthz") as health:
                        status, state = health.status, (await health.json())["state"]
                assert (status, state) == (503, "HEALTH_STATE_DRAINING")
                async with http.post(CHAT, json=BODY) as refused:
                    assert refused.status == 503
                    assert (await refused.json())["error"]["code"] == "shutting_down"
                    assert refused.headers["retry-after"] == "1"
                rest = await running.text()
            await draining
    assert rest.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize(
    ("method", "code", "expected"),
    [
        ("/ailb.v1.ChatService/Sing", grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"),
        ("/no.such.Service/Call", grpc.StatusCode.UNIMPLEMENTED, "NOT_IMPLEMENTED"),
        (
            "/ailb.v1.ChatService/CreateChatCompletion",
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        ),
        (
            "/ailb.v1.ChatService/StreamChatCompletion",
            grpc.StatusCode.INVALID_ARGUMENT,
            "INVALID_REQUEST",
        ),
    ],
)
async def test_calls_that_mean_nothing_get_errors_with_a_reason(
    stack: Stack, method: str, code: grpc.StatusCode, expected: str
) -> None:
    async with grpc.aio.insecure_channel(stack.grpc) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failure:
            ask: Any = channel.unary_unary(method)
            await ask(b"\xff\xff\xff")
    assert failure.value.code() is code
    assert reason(failure.value) == expected
