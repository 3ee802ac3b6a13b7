"""The demo provider's HTTP server: aiohttp.web on loopback, OpenAI's wire format."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, TypeAlias

from aiohttp import web

from ailb_server.demo.answer import fingerprint
from ailb_server.demo.behaviour import Behaviour, adjust
from ailb_server.demo.catalogue import Catalogue
from ailb_server.demo.delivery import deliver
from ailb_server.demo.errors import ApiError
from ailb_server.demo.faults import Ending, compose
from ailb_server.demo.provider import Endpoint, Provider
from ailb_server.demo.received import Outcome, Received
from ailb_server.demo.reply import Reply, chat, completions, embeddings, error_reply

_MAX_BODY: Final = 128 * 1024 * 1024
_STOP_S: Final = 1.0
_POSTS: Final[Mapping[str, Endpoint]] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/embeddings": embeddings,
}
_Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Decide: TypeAlias = Callable[[bytes, str], tuple[Reply, Behaviour]]


class DemoServer:
    """An OpenAI-shaped provider: deterministic, offline, with faults on request.

    `observe` is called with each request once its body has arrived; the object then learns
    the outcome. `clock` gives `created` in Unix seconds. `models` are further model names,
    which behave as `demo` does. Any API key is accepted.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        observe: Callable[[Received], None] | None = None,
        clock: Callable[[], float] = time.time,
        models: Iterable[str] = (),
    ) -> None:
        self._host = host
        self._port = port
        self._observe = observe
        self._clock = clock
        self._provider = Provider(Catalogue(models), {})
        self._runner: web.AppRunner | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._stopping = False

    @property
    def open_requests(self) -> int:
        """Requests in flight, from their headers to the end of their answers."""
        return len(self._tasks)

    def behave(self, wishes: Mapping[str, object]) -> None:
        """Force the fields of a `demo` object upon every later request, listings included; {}
        ends it. A request's own field `demo` still wins. Raises ApiError for a bad wish."""
        adjust(Behaviour(), wishes)
        self._provider = Provider(self._provider.catalogue, dict(wishes))

    async def start(self) -> str:
        """Listen, and return the base URL: http://HOST:PORT/v1. Raises OSError if the port is
        taken."""
        self._stopping = False
        runner = web.AppRunner(
            self._application(),
            handler_cancellation=True,
            access_log=None,
            shutdown_timeout=_STOP_S,
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        host, port = runner.addresses[0][:2]
        return f"http://{host}:{port}/v1"

    async def stop(self) -> None:
        """Close the port and every connection; requests in flight are broken off."""
        runner, self._runner = self._runner, None
        if runner is None:
            return
        self._stopping = True
        for task in tuple(self._tasks):
            task.cancel()
        await runner.cleanup()

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=_MAX_BODY)
        router = application.router
        for path, endpoint in _POSTS.items():
            router.add_post(path, self._poster(endpoint))
        router.add_get("/v1/models", self._list)
        router.add_get("/v1/models/{model:.+}", self._model)
        router.add_route("*", "/{rest:.*}", self._unknown)
        return application

    def _poster(self, endpoint: Endpoint) -> _Handler:
        def decide(raw: bytes, tag: str) -> tuple[Reply, Behaviour]:
            return self._provider.post(endpoint, raw, tag=tag, created=int(self._clock()))

        async def handle(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, decide)

        return handle

    async def _list(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda _raw, _tag: self._provider.get(_listing))

    async def _model(self, request: web.Request) -> web.StreamResponse:
        model = request.match_info["model"]
        return await self._serve(
            request, lambda _raw, _tag: self._provider.get(lambda known: known.model_body(model))
        )

    async def _unknown(self, request: web.Request) -> web.StreamResponse:
        return await self._serve(request, lambda _raw, _tag: _no_route(request))

    async def _serve(self, request: web.Request, decide: _Decide) -> web.StreamResponse:
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
        try:
            return await self._exchange(request, decide)
        finally:
            if task is not None:
                self._tasks.discard(task)

    async def _exchange(self, request: web.Request, decide: _Decide) -> web.StreamResponse:
        try:
            raw = await request.read()
        except web.HTTPRequestEntityTooLarge:
            raw, decide = b"", _too_large
        seen = self._seen(request, raw)
        outcome = Outcome.BROKEN
        try:
            response, outcome = await self._respond(request, raw, decide)
        except ConnectionError:
            outcome = self._left()
            # Nobody reads it; an error raised here would be logged as the server's own.
            return web.Response()
        except asyncio.CancelledError:
            outcome = self._left()
            raise
        else:
            return response
        finally:
            if seen is not None:
                seen.close(outcome)

    async def _respond(
        self, request: web.Request, raw: bytes, decide: _Decide
    ) -> tuple[web.StreamResponse, Outcome]:
        tag = fingerprint(raw or request.path.encode())
        reply, how = decide(raw, tag)
        headers = {"x-request-id": f"req_demo_{tag}", "openai-version": "2020-10-01"}
        script = compose(reply, how, headers)
        if how.latency_ms:
            await asyncio.sleep(how.latency_ms / 1000)
        response = await deliver(request, script)
        whole = script.ending is Ending.FINISH
        return response, Outcome.FINISHED if whole else Outcome.BROKEN

    def _left(self) -> Outcome:
        return Outcome.BROKEN if self._stopping else Outcome.ABORTED

    def _seen(self, request: web.Request, raw: bytes) -> Received | None:
        if self._observe is None:
            return None
        seen = Received(request.method, request.path_qs, request.headers, raw)
        self._observe(seen)
        return seen


def _listing(catalogue: Catalogue) -> bytes:
    return catalogue.list_body()


def _too_large(_raw: bytes, _tag: str) -> tuple[Reply, Behaviour]:
    message = f"Request body is larger than {_MAX_BODY} bytes."
    return error_reply(ApiError(413, message, code="request_too_large")), Behaviour()


def _no_route(request: web.Request) -> tuple[Reply, Behaviour]:
    method, path = request.method, request.path
    if path in _POSTS or path.startswith("/v1/models"):
        hint = "(HINT: Perhaps you meant to use a different HTTP method?)"
        message = f"Not allowed to {method} on {path}. {hint}"
        return error_reply(ApiError(405, message, code="method_not_supported")), Behaviour()
    return error_reply(ApiError(404, f"Invalid URL ({method} {path})")), Behaviour()
