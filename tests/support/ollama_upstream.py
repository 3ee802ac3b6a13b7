"""An Ollama server for tests: its native wire format, scripted answers, faults at every phase.

Format: `ChatResponse`, `ListResponse` in ollama's api/types.go; `stream` is true unless a request
says otherwise; an error within a stream is a line of its own.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from aiohttp import web

Line: TypeAlias = dict[str, Any]
Fault: TypeAlias = Literal["", "reset", "stall", "stall_headers", "stall_late", "cut", "hold"]
CREATED_AT = "2026-08-21T10:00:00.123456789Z"


def line(content: str = "", *, model: str = "llama3.2:3b", **message: Any) -> Line:
    """A line in the middle of an answer; `message` has further members of its message."""
    said = {"role": "assistant", "content": content, **message}
    return {"model": model, "created_at": CREATED_AT, "message": said, "done": False}


def last_line(reason: str = "stop", **metrics: Any) -> Line:
    """The line that ends an answer, with 7 prompt and 2 answer tokens unless told otherwise."""
    counts = {"prompt_eval_count": 7, "eval_count": 2, "total_duration": 4_883_583_458}
    return {**line(), "done": True, "done_reason": reason, **counts, **metrics}


def ndjson(lines: Sequence[Line]) -> bytes:
    """The lines as they are on the wire."""
    return b"".join(json.dumps(told, ensure_ascii=False).encode() + b"\n" for told in lines)


def whole(lines: Sequence[Line]) -> Line:
    """What Ollama answers without a stream instead of these lines."""
    message: Line = {"role": "assistant", "content": ""}
    for said in (told["message"] for told in lines):
        message["content"] += said["content"]
        if "thinking" in said:
            message["thinking"] = message.get("thinking", "") + said["thinking"]
        if "tool_calls" in said:
            message["tool_calls"] = [*message.get("tool_calls", []), *said["tool_calls"]]
    answer = {**lines[-1], "message": message}
    logprobs = [token for told in lines for token in told.get("logprobs", ())]
    return {**answer, "logprobs": logprobs} if logprobs else answer


@dataclass
class Script:
    """What is answered. `body`, if given, stands instead of the lines, whatever was asked.

    `stall_late`, `cut` (without the body's end) and `hold` (a cut once `break_off` is set) come
    after all lines, the others before them.
    """

    lines: Sequence[Line] = ()
    body: bytes | None = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    fault: Fault = ""


@dataclass
class Received:
    """A request as it came."""

    path: str
    peer: object
    headers: dict[str, str]
    body: Line
    left: asyncio.Event = field(default_factory=asyncio.Event)


class OllamaUpstream:
    """Answers `/api/chat` by `script`, `/api/tags` by `models`, and `/api/embed` by `embed`, or,
    if that has no body, with `embedding` for each input, of 3 tokens each."""

    def __init__(self) -> None:
        self.script = Script([line("Hello"), last_line()])
        self.models: Sequence[str] = ("llama3.2:3b",)
        self.tags = Script()
        self.embedding: Sequence[float] = (0.5, -0.25)
        self.embed = Script()
        self.received: list[Received] = []
        self.url = ""
        self.break_off = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._stopping = asyncio.Event()

    async def start(self) -> str:
        """Listens on a free loopback port; returns the base URL."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_post("/api/chat", self._chat)
        app.router.add_post("/api/embed", self._embed)
        app.router.add_get("/api/tags", self._tags)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{port}"
        return self.url

    async def stop(self) -> None:
        """Refuses further connections."""
        self._stopping.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _tags(self, request: web.Request) -> web.StreamResponse:
        await self._note(request)
        models = [{"name": name, "model": name, "size": 1, "digest": "0"} for name in self.models]
        body = self.tags.body
        if body is None:
            body = json.dumps({"models": models}).encode()
        return await self._answer(request, self.tags, [body], "application/json; charset=utf-8")

    async def _embed(self, request: web.Request) -> web.StreamResponse:
        asked = (await self._note(request)).body
        count = 1 if isinstance(asked["input"], str) else len(asked["input"])
        body = self.embed.body
        if body is None:
            embeddings = [list(self.embedding)] * count
            answer = {"model": asked["model"], "embeddings": embeddings, "total_duration": 1}
            body = json.dumps({**answer, "prompt_eval_count": 3 * count}).encode()
        return await self._answer(request, self.embed, [body], "application/json; charset=utf-8")

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        received, script = await self._note(request), self.script
        if script.body is not None:
            writes = [script.body]
        elif received.body.get("stream", True):
            writes = [ndjson([told]) for told in script.lines]
        else:
            writes = [json.dumps(whole(script.lines)).encode()]
        kind = "application/x-ndjson" if received.body.get("stream", True) else "application/json"
        try:
            return await self._answer(request, script, writes, kind)
        except asyncio.CancelledError:
            received.left.set()
            raise

    async def _note(self, request: web.Request) -> Received:
        text = await request.read()
        body = json.loads(text) if text else {}
        assert request.transport is not None
        peer = request.transport.get_extra_info("peername")
        received = Received(request.path, peer, dict(request.headers), body)
        self.received.append(received)
        return received

    async def _answer(
        self, request: web.Request, script: Script, writes: Sequence[bytes], kind: str
    ) -> web.StreamResponse:
        assert request.transport is not None
        if script.fault == "stall":
            await self._stopping.wait()
        response = web.StreamResponse(status=script.status, headers=script.headers)
        if script.fault in ("reset", "stall"):
            request.transport.abort()
            return response
        response.content_type = kind.partition(";")[0]
        await response.prepare(request)
        if script.fault == "stall_headers":
            await self._stopping.wait()
        for write in writes:
            await response.write(write)
        if script.fault == "stall_late":
            await self._stopping.wait()
        if script.fault == "hold":
            await self.break_off.wait()
        if script.fault in ("cut", "hold"):
            # Without the chunk that ends the body.
            request.transport.close()
            return response
        await response.write_eof()
        return response
