"""The one interceptor: every call gets its id, its caller, its bound and its errors here."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError
from typing_extensions import override

from ailb_server.api import anthropic_errors, errors
from ailb_server.api.authorisation import Access
from ailb_server.api.call import (
    REQUEST_ID_KEY,
    Call,
    Context,
    Refusals,
    Writing,
    arrival,
    current_call,
    interrupted,
    on_behalf_of,
)
from ailb_server.api.call_watch import CallWatch, Watched
from ailb_server.api.credentials import peer
from ailb_server.api.flow import NOTHING, flow
from ailb_server.api.gate import Gate, Visit
from ailb_server.api.modules import came
from ailb_server.api.signed_calls import signed_call
from ailb_server.domain.errors import (
    AilbError,
    InvalidRequestError,
    NotImplementedHereError,
    OverloadedError,
    ShuttingDownError,
)
from ailb_server.domain.principal import Principal
from ailb_server.telemetry import logs
from ailb_server.telemetry.tracing import CANCELLED, Within
from ailb_server.telemetry.vitals import Traffic

_POLLS = ("GetStatus", "HealthCheck", "GetStats", "GetMetrics")
# Answered under any load, or an overloaded instance would look dead.
_UNBOUNDED = (
    "/grpc.",
    "/ailb.v1.HealthService/",
    "/ailb.v1.MetricsService/",
    # A load balancer must see that an instance is overloaded, or that it ends.
    *(f"/marchproxy.ModuleService/{rpc}" for rpc in _POLLS),
)
# Streams of pieces of one HTTP body: an empty last one says nothing.
_BODIES = frozenset(
    {
        "/ailb.openai.v1.OpenAIService/CreateChatCompletion",
        "/ailb.openai.v1.OpenAIService/CreateCompletion",
        "/ailb.anthropic.v1.AnthropicService/CreateMessage",
    }
)

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Found: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"

_UNKEYED = Access.ANYBODY


@dataclass(frozen=True, slots=True)
class _Way:
    """What the edge knows of a method, once for all its calls."""

    method: str
    bounded: bool
    access: Access


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
        self.refused = refused
        self._running: dict[asyncio.Task[Any], Writing] = {}
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
        for task, writing in self._running.items():
            if writing.busy:
                writing.spared = True
            else:
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
        if method in _BODIES:
            # Only gRPC's unary calls end with a message and the status at once. To a caller both
            # are the same.
            return grpc.unary_unary_rpc_method_handler(
                self._body(
                    self._parsed(handler.request_deserializer, handler.unary_stream), serialize, way
                ),
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
            async with _Entered(self, way, context, request):
                return await behavior(request, context)

        return call

    def _body(self, behavior: Any, serialize: Any, way: "_Way") -> Any:
        async def call(request: Any, context: Context) -> HttpBody:
            def write(message: HttpBody) -> Awaitable[None]:
                # The context of a unary call does not serialize.
                return context.write(serialize(message))

            entered = _Entered(self, way, context, request)
            async with entered, aclosing(behavior(request, context)) as answer:
                last = await flow(answer, write, entered.call.writing)
            return HttpBody() if last is NOTHING else last

        return call

    def _stream(self, behavior: Any, way: "_Way") -> Any:
        async def call(request: Any, context: Context) -> None:
            entered = _Entered(self, way, context, request)
            async with entered:
                answer = behavior(request, context)
                if not inspect.isasyncgen(answer):
                    await answer
                    return
                # Closed now: a cancelled call must not leave its upstream to the collector.
                async with aclosing(answer):
                    last = await flow(answer, context.write, entered.call.writing)
                if last is not NOTHING:
                    await context.write(last)

        return call

    def began(self, way: "_Way", call: Call) -> Watched:
        """A call is here."""
        # Not health checks: a load balancer's are more than many a caller's.
        if way.bounded:
            self._traffic.calls += 1
            self._traffic.active += 1
        return self._watch.begin(way.method, call.request_id, call.trace, told=way.bounded)

    async def let_in(self, entered: "_Entered", call: Call, secret: str | None) -> Call:
        """On whose behalf it runs, and its place. Raises AilbError."""
        # Before it takes one of the places: who is nobody must not keep others out.
        gate, way = self._gate, entered.way
        if gate is not None:
            principal = gate.known(secret, way.access)
            if principal is None:
                principal = await self._entering(gate, secret, way, _visit(entered, call))
            call = on_behalf_of(call, principal)
        current_call.set(call)
        if way.bounded and (task := asyncio.current_task()) is not None:
            self._admit(task, call.writing)
            entered.task = task
        return call

    def ended(self, watched: Watched, task: asyncio.Task[Any] | None) -> None:
        """It is over; `task` if it had a place."""
        if task is not None:
            self._running.pop(task, None)
        if watched.told:
            self._traffic.active -= 1
        self._watch.end(watched)

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

    def _admit(self, task: asyncio.Task[Any], writing: Writing) -> None:
        if self._refusing:
            raise ShuttingDownError("This instance ends. Try again.", retry_after_s=1)
        if len(self._running) >= self._max_calls:
            raise OverloadedError("This instance serves as many calls as it may.", retry_after_s=1)
        self._running[task] = writing

    def is_interrupting(self) -> bool:
        """Whether this server ends the calls that run."""
        return self._interrupting


class _Entered:
    """A call from its arrival to its end, whose errors it tells the caller. A class, because it is
    around every call: a generator costs twice as much."""

    __slots__ = ("_edge", "_watched", "call", "context", "request", "task", "way")

    def __init__(self, edge: Edge, way: _Way, context: Context, request: object) -> None:
        self._edge = edge
        self.way = way
        self.context = context
        self.request = request
        self.task: asyncio.Task[Any] | None = None

    async def __aenter__(self) -> None:
        """Raises what a refused call ends with."""
        edge = self._edge
        call, secret = arrival(self.context, edge.is_interrupting, edge.refused)
        logs.request_id.set(call.request_id)
        self.call = call
        self._watched = edge.began(self.way, call)
        try:
            with Refusals(call):
                self.call = call = await edge.let_in(self, call, secret)
                self._watched.who = call.principal
        except BaseException as error:
            await self._leave(error)
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        try:
            if error is not None:
                await self._failed(error)
        finally:
            self._edge.ended(self._watched, self.task)

    async def _failed(self, error: BaseException) -> None:
        call = self.call
        if isinstance(error, asyncio.CancelledError):
            error = interrupted(call) or error
        if isinstance(error, grpc.aio.AbortError):
            return
        if not isinstance(error, Exception):
            self._watched.outcome = CANCELLED
            return
        told = errors.as_ailb_error(error, call.request_id)
        self._watched.outcome = told.reason.value.lower()
        await abort(self.context, call, told)


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


def _visit(entered: "_Entered", call: Call) -> Visit:
    context, method, rest = entered.context, entered.way.method, call.rest
    return Visit(
        method,
        call.request_id,
        peer=lambda: peer(context, rest=rest),
        came=lambda: came(context, rest=rest),
        signed=lambda: signed_call(context, method, entered.request, rest=rest),
    )


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
