"""`python -m benchmarks.floor_server MODE`: the least that a server behind Envoy can do.

`echo` answers a chat by itself, with one message; `relay` passes what an OpenAI-compatible upstream
answers, as it is read. Neither looks into a body, has an interceptor, keys, limits or metrics. What
AILB takes beyond them is AILB's own.
"""

import argparse
import asyncio
import signal
from collections.abc import AsyncGenerator
from typing import Any, TypeAlias

import aiohttp
import grpc
import uvloop
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb.openai.v1 import openai_service_pb2_grpc as pb_grpc
from ailb_server.server import OPTIONS

_JSON = "application/json"
_EVENTS = "text/event-stream; charset=utf-8"
_ANSWER = (
    b'{"id":"chatcmpl-floor","object":"chat.completion","created":1760000000,"model":"floor",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"' + b"word " * 100 + b'"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":14,"completion_tokens":80,'
    b'"total_tokens":94}}'
)
_POOL = 512

Context: TypeAlias = grpc.aio.ServicerContext[Any, HttpBody]
Bodies: TypeAlias = AsyncGenerator[HttpBody, None]


class _Chats(pb_grpc.OpenAIServiceServicer):
    """Nothing but chats."""

    @override
    async def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> Bodies:
        """Nobody asks for it."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "chats only")
        yield HttpBody()

    @override
    async def CreateEmbedding(self, request: pb.CreateEmbeddingRequest, context: Context) -> Any:
        """Nobody asks for it."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "chats only")


class Echo(_Chats):
    """Answers at once, the same always."""

    @override
    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> Bodies:
        """See the module."""
        yield HttpBody(content_type=_JSON, data=_ANSWER)


class Relay(_Chats):
    """Sends what it got to `url`, and each read of the answer back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    @override
    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> Bodies:
        """See the module."""
        if self._session is None:
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_POOL))
        headers = {"content-type": _JSON}
        posted = self._session.post(self._url, data=request.body.data, headers=headers)
        async with posted as answer:
            streamed = answer.content_type == "text/event-stream"
            async for data in answer.content.iter_any():
                yield HttpBody(content_type=_EVENTS if streamed else _JSON, data=data)


async def _serve(servicer: pb_grpc.OpenAIServiceServicer, port: int) -> None:
    server = grpc.aio.server(options=OPTIONS)
    pb_grpc.add_OpenAIServiceServicer_to_server(servicer, server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    await ended.wait()
    await server.stop(None)


def main() -> None:
    """Serves until SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor_server", description=__doc__)
    parser.add_argument("mode", choices=("echo", "relay"))
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", help="the URL of chat completions, for `relay`")
    options = parser.parse_args()
    if options.mode == "relay" and not options.upstream:
        parser.error("relay needs --upstream")
    servicer = Relay(options.upstream) if options.mode == "relay" else Echo()
    uvloop.run(_serve(servicer, options.port))


if __name__ == "__main__":
    main()
