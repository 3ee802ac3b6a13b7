"""The one interceptor: every call gets its id, its caller, its bound and its errors here."""

import asyncio
import inspect
import secrets
import string
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError
from typing_extensions import override

from ailb_server.api import anthropic_errors, errors
from ailb_server.api.authorisation import Access
from ailb_server.api.call_watch import CallWatch, Watched
from ailb_server.api.credentials import API_KEY_KEY, AUTHORIZATION_KEY, bearer, peer
from ailb_server.api.gate import Gate, Visit
from ailb_server.api.modules import came
from ailb_server.api.signed_calls import signed_call
from ailb_server.domain.chat import Wire
from ailb_server.domain.errors import (
    AilbError,
    InvalidRequestError,
    NotImplementedHereError,
    OverloadedError,
    Reason,
    ShuttingDownError,
)
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.telemetry import logs
from ailb_server.telemetry.tracing import CANCELLED, Within
from ailb_server.telemetry.vitals import Traffic

REQUEST_ID_KEY = "x-request-id"
# Envoy's transcoder sets it, to the path with its query, on what was a REST call.
_TRANSCODED_KEY = "x-envoy-original-path"
_ANTHROPIC_PATHS = "/v1/messages"
_TRACE_KEYS = frozenset({"traceparent", "tracestate"})
_MAX_REQUEST_ID = 128
_REQUEST_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.:/+=@-")
_POLLS = ("GetStatus", "HealthCheck", "GetStats", "GetMetrics")
# Answered under any load, or an overloaded instance would look dead.
_UNBOUNDED = (
    "/grpc.",
    "/ailb.v1.HealthService/",
    "/ailb.v1.MetricsService/",
    # A load balancer must see that an instance is overloaded, or that it ends.
    *(f"/marchproxy.ModuleService/{rpc}" for rpc in _POLLS),
)

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


@dataclass(frozen=True, slots=True)
class Call:
    """Facts of the running call. `rest`: it came through Envoy's transcoder.

    `wire` is the format whose errors a REST caller expects. `interrupted` tells, within a cancelled
    call, whether it was this server that ended it. `principal` is on whose behalf it runs.
    `refused` is told the reason of an error that no stage of a request has seen: see `Refusals`.
    `trace` are the caller's headers of W3C Trace Context.
    """

    request_id: str
    rest: bool
    wire: Wire = "openai"
    interrupted: Callable[[], bool] = field(default=lambda: False, compare=False)
    principal: Principal = ANYONE
    refused: Callable[[str], None] = field(default=lambda _: None, compare=False)
    trace: Mapping[str, str] = field(default_factory=dict, compare=False)


current_call: ContextVar[Call] = ContextVar("current_call")


_UNKEYED = Access.ANYBODY


@dataclass(frozen=True, slots=True)
class _Way:
    """What the edge knows of a method, once for all its calls."""

    method: str
    bounded: bool
    access: Access


class Refusals:
    """Around what comes before a request's first stage, which counts its own errors."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        """Nothing is refused yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            reason = error.reason if isinstance(error, AilbError) else Reason.INTERNAL_ERROR
            self._call.refused(reason.value.lower())


class Edge(grpc.aio.ServerInterceptor):
    """Wraps every method, whichever service it is of.

    `max_calls` bounds the calls that run at once; beyond it they are refused at once, because a
    queue would only turn overload into timeouts. `refuse` and `interrupt` are the server's end.
    Without a `gate` nobody is asked who they are. `refused` is told the reason of each call that is
    refused before its request's first stage.
    """

    def __init__(
        self,
        max_calls: int,
        gate: Gate | None = None,
        refused: Callable[[str], None] = lambda _: None,
        traffic: Traffic | None = None,
        watch: CallWatch | None = None,
    ) -> None:
        self._watch = watch or CallWatch()
        self._traffic = traffic or Traffic()
        self._max_calls = max_calls
        self._gate = gate
        self._refused = refused
        self._running: set[asyncio.Task[Any]] = set()
        self._refusing = False
        self._interrupting = False
        self._wrapped: dict[str, Handler] = {}

    def refuse(self) -> None:
        """From now on, bounded calls are told to go elsewhere."""
        self._refusing = True

    async def wait_idle(self, timeout_s: float) -> None:
        """Returns once no bounded call runs, or after `timeout_s`."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    async def interrupt(self, timeout_s: float) -> None:
        """Ends the bounded calls that run, each with its error; returns once they have told it."""
        self._interrupting = True
        for task in self._running:
            task.cancel()
        await self.wait_idle(timeout_s)

    @override
    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Found]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Found:
        """See `grpc.aio.ServerInterceptor`."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return grpc.stream_stream_rpc_method_handler(
                    self._stream(_no_method(method), _Way(method, bounded=False, access=_UNKEYED))
                )
            wrapped = self._wrapped[method] = self._wrap(method, handler)
        return wrapped

    def _wrap(self, method: str, handler: Handler) -> Handler:
        access = _UNKEYED if self._gate is None else self._gate.access(method)
        way = _Way(method, not method.startswith(_UNBOUNDED), access)
        serialize = _counted(handler.response_serializer, self._traffic)
        if not handler.response_streaming:
            return grpc.unary_unary_rpc_method_handler(
                self._unary(self._parsed(handler.request_deserializer, handler.unary_unary), way),
                None,
                serialize,
            )
        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(
                self._stream(handler.stream_stream, way),
                handler.request_deserializer,
                serialize,
            )
        return grpc.unary_stream_rpc_method_handler(
            self._stream(self._parsed(handler.request_deserializer, handler.unary_stream), way),
            None,
            serialize,
        )

    def _parsed(self, parse: Any, behavior: Any) -> Any:
        """Parses within the call, so that bytes which are no message meet the error table too."""
        traffic = self._traffic

        def call(request: bytes, context: Context) -> Any:
            traffic.received += len(request)
            with Refusals(current_call.get()):
                try:
                    message = parse(request) if parse else request
                except DecodeError:
                    raise InvalidRequestError("The request is not the method's message.") from None
            return behavior(message, context)

        return call

    def _unary(self, behavior: Any, way: "_Way") -> Any:
        async def call(request: Any, context: Context) -> Any:
            async with self._entered(context, way, request):
                return await behavior(request, context)

        return call

    def _stream(self, behavior: Any, way: "_Way") -> Any:
        async def call(request: Any, context: Context) -> None:
            async with self._entered(context, way, request):
                answer = behavior(request, context)
                if not inspect.isasyncgen(answer):
                    await answer
                    return
                # Closed now: a cancelled call must not leave its upstream to the collector.
                async with aclosing(answer):
                    async for message in answer:
                        await context.write(message)

        return call

    @asynccontextmanager
    async def _entered(self, context: Context, way: "_Way", request: object) -> AsyncIterator[None]:
        call, secret = arrival(context, self._is_interrupting, self._refused)
        logs.request_id.set(call.request_id)
        task = asyncio.current_task()
        with self._watched(call, way) as watched:
            try:
                with Refusals(call):
                    # Before it takes one of the places: who is nobody must not keep others out.
                    if self._gate is not None:
                        principal = self._gate.known(secret, way.access)
                        if principal is None:
                            visit = _visit(context, call, way.method, request)
                            principal = await self._entering(self._gate, secret, way, visit)
                        call, watched.who = _as(call, principal), principal
                    current_call.set(call)
                    if way.bounded and task is not None:
                        self._admit(task)
                with interruption(call):
                    yield
            except Exception as error:
                if isinstance(error, grpc.aio.AbortError):
                    raise
                told = errors.as_ailb_error(error, call.request_id)
                watched.outcome = told.reason.value.lower()
                await abort(context, call, told)
            finally:
                if task is not None:
                    self._running.discard(task)

    @contextmanager
    def _watched(self, call: Call, way: "_Way") -> Iterator[Watched]:
        traffic, watch = self._traffic, self._watch
        traffic.calls += 1
        traffic.active += 1
        watched = watch.begin(way.method, call.request_id, call.trace, told=way.bounded)
        try:
            yield watched
        except Exception:
            raise
        except BaseException:
            watched.outcome = CANCELLED
            raise
        finally:
            traffic.active -= 1
            watch.end(watched)

    async def _entering(
        self, gate: Gate, secret: str | None, way: "_Way", visit: Visit
    ) -> Principal:
        """Who calls, where that takes more than a look into the cache."""
        started = time.perf_counter()
        with Within("auth"):
            try:
                return await gate.enter(secret, way.access, visit)
            finally:
                self._watch.authenticated(time.perf_counter() - started)

    def _admit(self, task: asyncio.Task[Any]) -> None:
        if self._refusing:
            raise ShuttingDownError("This instance ends. Try again.", retry_after_s=1)
        if len(self._running) >= self._max_calls:
            raise OverloadedError("This instance serves as many calls as it may.", retry_after_s=1)
        self._running.add(task)

    def _is_interrupting(self) -> bool:
        return self._interrupting


@contextmanager
def interruption(call: Call) -> Iterator[None]:
    """Turns a cancellation by this server, not by the caller, into the error to be told."""
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not call.interrupted():
            raise
        task.uncancel()
        raise ShuttingDownError(
            "This instance ended before the answer did. Try again.", retry_after_s=1
        ) from None


def _counted(serialize: Any, traffic: Traffic) -> Any:
    """The serializer, with what it makes added up."""

    def call(message: Any) -> bytes:
        data: bytes = serialize(message) if serialize else message
        traffic.sent += len(data)
        return data

    return call


def _no_method(method: str) -> Any:
    async def call(_requests: object, _context: Context) -> None:
        with Refusals(current_call.get()):
            raise NotImplementedHereError("This server has no such method.", method=method)

    return call


def arrival(
    context: Context,
    interrupted: Callable[[], bool] = lambda: False,
    refused: Callable[[str], None] = lambda _: None,
) -> tuple[Call, str | None]:
    """The call by its metadata, and the secret that it brings: a bearer token or a signature, else
    `x-api-key`.

    A missing or unfit request id is replaced by a new one.
    """
    request_id, path = "", ""
    trace: dict[str, str] = {}
    token: str | None = None
    api_key: str | None = None
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str):
            request_id = value
        elif key == _TRANSCODED_KEY:
            path = str(value)
        elif key == AUTHORIZATION_KEY and isinstance(value, str):
            token = bearer(value) or token
        elif key == API_KEY_KEY and isinstance(value, str):
            api_key = value.strip() or api_key
        elif key in _TRACE_KEYS and isinstance(value, str):
            trace[key] = value
    if not request_id or not _fit(request_id):
        request_id = secrets.token_hex(16)
    wire: Wire = "anthropic" if path.startswith(_ANTHROPIC_PATHS) else "openai"
    call = Call(request_id, bool(path), wire, interrupted, refused=refused, trace=trace)
    return call, token or api_key


def _as(call: Call, principal: Principal) -> Call:
    # `replace` costs four times as much, on every call.
    return Call(
        call.request_id, call.rest, call.wire, call.interrupted, principal, call.refused, call.trace
    )


def _visit(context: Context, call: Call, method: str, request: object) -> Visit:
    rest = call.rest
    return Visit(
        method,
        call.request_id,
        peer=lambda: peer(context, rest=rest),
        came=lambda: came(context, rest=rest),
        signed=lambda: signed_call(context, method, request, rest=rest),
    )


def _fit(request_id: str) -> bool:
    return len(request_id) <= _MAX_REQUEST_ID and _REQUEST_ID_CHARACTERS.issuperset(request_id)


async def abort(context: Context, call: Call, error: AilbError) -> None:
    """Ends the call with the error's status and details. Always raises."""
    status = errors.rpc_status(error)
    metadata: list[tuple[str, str | bytes]] = [
        (REQUEST_ID_KEY, call.request_id),
        ("grpc-status-details-bin", status.SerializeToString()),
        *errors.response_metadata(error),
    ]
    if call.rest and call.wire == "anthropic":
        metadata.extend(anthropic_errors.rest_metadata(error, call.request_id))
    elif call.rest:
        metadata.extend(errors.rest_metadata(error))
    await context.abort(errors.TABLE[error.reason].grpc, status.message, tuple(metadata))
