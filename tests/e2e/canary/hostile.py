"""A provider of three wire formats that tells what it was told: its errors quote the credential
and the prompt. Which fault a request meets is in its model's name."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

# The faults; `422` and the like answer with that status.
FAULTS = (
    "ok", "400", "404", "413", "422", "429", "500", "529", "plain-400", "plain-500", "list-422",
    "cut", "late-cut", "junk", "late-junk", "error-in-200", "late-error", "html", "empty",
)  # fmt: skip
# Those that make AILB doubt its credential.
CREDENTIAL_FAULTS = ("401", "402", "403")
_USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


class Hostile:
    """`seen` counts requests; `url` is without a path."""

    def __init__(self) -> None:
        self.seen = 0
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        for path in ("/v1/models", "/api/tags"):
            app.router.add_get(path, self._models)
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages",
                     "/v1/messages/count_tokens", "/api/chat", "/api/embed"):  # fmt: skip
            app.router.add_post(path, self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _models(self, request: web.Request) -> web.Response:
        return web.json_response(_error(request.path, _quoted(request, b"")), status=400)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen += 1
        body = await request.read()
        told = orjson.loads(body)
        fault = str(told["model"]).partition("-x-")[2]
        quoted = _quoted(request, body)
        if fault == "ok":
            return await _well(request, told)
        if (change := _STREAMED.get(fault)) is not None:
            return await change(request, quoted, told)
        status = int(fault.rpartition("-")[2]) if fault[-3:].isdigit() else 200
        return _refused(request, fault, status, quoted)


def _quoted(request: web.Request, body: bytes) -> str:
    headers = "; ".join(f"{name}: {value}" for name, value in request.headers.items())
    return f"refused [{headers}] said {body.decode(errors='replace')[:4000]}"


def _refused(request: web.Request, fault: str, status: int, quoted: str) -> web.Response:
    headers = {"x-request-id": "up-1", "www-authenticate": quoted[:2000], "retry-after": "0"}
    if fault.startswith("plain") or fault == "html":
        text = f"<html>Traceback (most recent call last):\n  {quoted}</html>"
        return web.Response(text=text, status=status, content_type="text/html", headers=headers)
    if fault.startswith("list"):
        detail = [{"loc": ["body", quoted], "msg": quoted, "type": "value_error"}]
        return web.json_response({"detail": detail}, status=status, headers=headers)
    if fault == "junk":
        return web.Response(text=f'{{"broken": "{quoted}', content_type="application/json")
    if fault == "empty":
        return web.Response(text="", content_type="application/json")
    return web.json_response(_error(request.path, quoted), status=status, headers=headers)


def _error(path: str, quoted: str) -> Mapping[str, Any]:
    if path.startswith("/api/"):
        return {"error": quoted}
    error = {"message": quoted, "type": "invalid_request_error", "param": quoted, "code": quoted}
    return {"type": "error", "error": error, "request_id": "r"}


async def _well(request: web.Request, told: Mapping[str, Any]) -> web.StreamResponse:
    if told.get("stream") and request.path == "/v1/chat/completions":
        response = await _begun(request)
        last = {**_event(""), "usage": _USAGE}
        last["choices"] = [{"index": 0, "delta": {}, "finish_reason": "stop"}]
        await response.write(_sse(last) + b"data: [DONE]\n\n")
        return response
    return web.json_response(_WHOLE[request.path])


async def _begun(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"content-type": _STREAM_TYPE[request.path]})
    await response.prepare(request)
    await response.write(_FIRST[request.path])
    await asyncio.sleep(0.02)
    return response


async def _cut(request: web.Request, _quoted: str, _told: object) -> web.StreamResponse:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def _late_cut(request: web.Request, _quoted: str, _told: object) -> web.StreamResponse:
    response = await _begun(request)
    assert request.transport is not None
    request.transport.abort()
    return response


async def _late_junk(request: web.Request, quoted: str, _told: object) -> web.StreamResponse:
    response = await _begun(request)
    await response.write(b'data: {"broken": "%b\n\n' % quoted.encode())
    return response


async def _late_error(request: web.Request, quoted: str, _told: object) -> web.StreamResponse:
    response = await _begun(request)
    error = orjson.dumps(_error(request.path, quoted))
    if request.path.startswith("/api/"):
        await response.write(error + b"\n")
    else:
        await response.write(b"event: error\ndata: " + error + b"\n\n")
    return response


def _event(text: str) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return {"id": "c", "object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def _sse(event: Mapping[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(event) + b"\n\n"


_Change = Callable[[web.Request, str, Any], Awaitable[web.StreamResponse]]
_STREAMED: Mapping[str, _Change] = {
    "cut": _cut,
    "late-cut": _late_cut,
    "late-junk": _late_junk,
    "late-error": _late_error,
}
_MESSAGE = {
    "id": "m", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "hi"}], "usage": {"input_tokens": 5, "output_tokens": 2},
}  # fmt: skip
_CHAT = {
    "id": "c", "object": "chat.completion", "created": 1, "model": "m", "usage": _USAGE,
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "text": "hi",
                 "finish_reason": "stop"}],
}  # fmt: skip
_OLLAMA = {"model": "m", "message": {"role": "assistant", "content": "hi"}, "done": False}
_VECTOR = {"object": "embedding", "index": 0, "embedding": [0.1, 0.2]}
_WHOLE: Mapping[str, Mapping[str, Any]] = {
    "/v1/chat/completions": _CHAT,
    "/v1/completions": _CHAT,
    "/v1/embeddings": {"object": "list", "model": "m", "data": [_VECTOR], "usage": _USAGE},
    "/v1/messages": _MESSAGE,
    "/v1/messages/count_tokens": {"input_tokens": 5},
    "/api/chat": {**_OLLAMA, "done": True, "done_reason": "stop", "eval_count": 2},
    "/api/embed": {"model": "m", "embeddings": [[0.1, 0.2]], "prompt_eval_count": 5},
}
_BEGIN = {"type": "message_start", "message": {**_MESSAGE, "content": [], "stop_reason": None}}
_FIRST: Mapping[str, bytes] = {
    "/v1/chat/completions": _sse(_event("hi")),
    "/v1/completions": _sse(_event("hi")),
    "/v1/embeddings": b"{",
    "/v1/messages": b"event: message_start\n" + _sse(_BEGIN),
    "/v1/messages/count_tokens": b"{",
    "/api/chat": orjson.dumps(_OLLAMA) + b"\n",
    "/api/embed": b"{",
}
_STREAM_TYPE: Mapping[str, str] = {
    path: "application/x-ndjson" if path.startswith("/api/") else "text/event-stream"
    for path in _FIRST
}
