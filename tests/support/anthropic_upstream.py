"""A server that speaks Anthropic's wire format over real connections, and fails as it is told."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

VERSION = "2026-10-21"
MODEL = "claude-test"
# Not as a JSON writer would write it: what is relayed must stay so.
COUNTED = b'{ "input_tokens" : 42 }'
# How the API refuses a prompt longer than the model's context.
TOO_LONG = "prompt is too long: 215432 tokens > 200000 maximum"
USAGE = {"input_tokens": 12, "output_tokens": 3}
MESSAGE: Mapping[str, Any] = {
    "id": "msg_01",
    "type": "message",
    "role": "assistant",
    "model": MODEL,
    "content": [{"type": "text", "text": "Hello!"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": USAGE,
}


def sse(event: Mapping[str, Any]) -> bytes:
    """One event as the API writes it."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode(), orjson.dumps(event))


STREAM = (
    sse({"type": "message_start", "message": {**MESSAGE, "content": [], "stop_reason": None}}),
    sse({"type": "ping"}),
    sse({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
    sse(
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": "Hello!"},
        }
    ),
    sse({"type": "content_block_stop", "index": 0}),
    sse({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": USAGE}),
    sse({"type": "message_stop"}),
)


def error_body(kind: str, message: str) -> bytes:
    """The error envelope."""
    error = {"type": kind, "message": message}
    return orjson.dumps({"type": "error", "error": error, "request_id": "req_01"})


@dataclass(frozen=True)
class Script:
    """An answer: its pieces, each written for itself, and then `end`.

    `end` is "finish", "reset" (the connection is broken) or "stall" (nothing more comes). The first
    piece comes after `delay_s`, each other `pause_s` after the one before.
    """

    pieces: Sequence[bytes] = ()
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    end: str = "finish"
    head: bool = True
    delay_s: float = 0.0
    pause_s: float = 0.0


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    headers: Mapping[str, str]
    body: Any
    raw: bytes = b""
    path: str = ""


class AnthropicUpstream:
    """`/v1/messages` by script, or a small answer; `/v1/models` in pages of `page_size`."""

    def __init__(self, *, models: Sequence[Mapping[str, Any]] = (), page_size: int = 2) -> None:
        self.script: Script | None = None
        self.listing: Script | None = None
        self.received: list[Received] = []
        self.pages: list[Mapping[str, str]] = []
        self.gone = asyncio.Event()
        self.url = ""
        self._models = list(models)
        self._page_size = page_size
        self._stack = AsyncExitStack()
        self._released = asyncio.Event()

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/v1/messages", self._messages)
        application.router.add_post("/v1/messages/count_tokens", self._messages)
        application.router.add_get("/v1/models", self._list)
        runner = web.AppRunner(application, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._released.set()
        await self._stack.aclose()

    async def _messages(self, request: web.Request) -> web.StreamResponse:
        raw = await request.read()
        body = orjson.loads(raw)
        self.received.append(Received(dict(request.headers), body, raw, request.path))
        if self.script is not None:
            return await self._play(request, self.script)
        if request.headers.get("anthropic-version") != VERSION:
            return self._refused("anthropic-version: header is required")
        if any(name in body for name in ("temperature", "top_p", "top_k")):
            return self._refused("sampling parameters are not supported")
        if request.path.endswith("/count_tokens"):
            return web.Response(body=COUNTED, content_type="application/json")
        if body.get("stream"):
            return await self._play(request, Script(STREAM, headers=EVENT_STREAM))
        return web.json_response(body=orjson.dumps({**MESSAGE, "model": body["model"]}))

    async def _list(self, request: web.Request) -> web.StreamResponse:
        self.pages.append(dict(request.query))
        if self.listing is not None:
            return await self._play(request, self.listing)
        names = [model["id"] for model in self._models]
        after = request.query.get("after_id")
        first = names.index(after) + 1 if after else 0
        page = self._models[first : first + self._page_size]
        more = first + self._page_size < len(names)
        last = page[-1]["id"] if page else None
        return web.json_response({"data": page, "has_more": more, "last_id": last})

    async def _play(self, request: web.Request, script: Script) -> web.StreamResponse:
        response = web.StreamResponse(status=script.status, headers=script.headers)
        try:
            await asyncio.sleep(script.delay_s)
            if script.head:
                await response.prepare(request)
            for number, piece in enumerate(script.pieces):
                if number:
                    await asyncio.sleep(script.pause_s)
                await response.write(piece)
            if script.end == "stall":
                await self._released.wait()
        except (asyncio.CancelledError, ConnectionError):
            self.gone.set()
            raise
        if script.end != "finish" and request.transport is not None:
            request.transport.abort()
        return response

    @staticmethod
    def _refused(message: str) -> web.Response:
        body = error_body("invalid_request_error", message)
        return web.Response(status=400, body=body, content_type="application/json")


EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8"}
