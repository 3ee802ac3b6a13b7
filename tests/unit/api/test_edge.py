"""Every call's id, bound and errors."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from typing_extensions import override

from ailb.v1 import chat_pb2
from ailb_server.api.call import Call, arrival, current_call
from ailb_server.api.edge import Edge
from ailb_server.domain.errors import ModelNotFoundError, OverloadedError
from ailb_server.telemetry import logs
from tests.unit.doubles import FakeContext

_CHAT = "/ailb.v1.ChatService/CreateChatCompletion"
_HEALTH = "/grpc.health.v1.Health/Check"
_REST = ("x-envoy-original-path", "/v1/chat/completions")


class _Details:
    def __init__(self, method: str) -> None:
        self.method = method


async def _wrapped(edge: Edge, handler: Any, method: str = _CHAT) -> Any:
    async def find(_: object) -> Any:
        return handler

    details: Any = _Details(method)
    return await edge.intercept_service(find, details)


async def _unary(edge: Edge, behavior: Any, method: str = _CHAT) -> Any:
    handler = await _wrapped(edge, grpc.unary_unary_rpc_method_handler(behavior), method)
    return handler.unary_unary


async def _say_id(request: object, context: object) -> str:
    assert logs.request_id.get() == current_call.get().request_id
    return current_call.get().request_id


async def _fail(request: object, context: object) -> None:
    raise ModelNotFoundError("No such model.", param="model", retry_after_s=2)


async def test_a_call_knows_its_id() -> None:
    call = await _unary(Edge(1), _say_id)
    assert await call("request", FakeContext([("x-request-id", "mine-1")])) == "mine-1"


@pytest.mark.parametrize("fit", ["a", "A-b_C.9:z", "f" * 128])
def test_a_fit_request_id_is_kept(fit: str) -> None:
    context: Any = FakeContext([("x-request-id", fit)])
    assert arrival(context)[0] == Call(fit, rest=False)


@pytest.mark.parametrize("unfit", ["", "a b", "a\nb", "ä", "<script>", "f" * 129])
def test_an_unfit_request_id_is_replaced(unfit: str) -> None:
    context: Any = FakeContext([("x-request-id", unfit)])
    one, two = arrival(context)[0], arrival(context)[0]
    assert len(one.request_id) == 32
    assert one.request_id != two.request_id
    assert one.request_id not in ("", unfit)


def test_a_rest_call_is_known_by_envoys_header() -> None:
    context: Any = FakeContext([_REST])
    assert arrival(context)[0].rest
    without: Any = FakeContext()
    assert not arrival(without)[0].rest


async def test_an_error_ends_the_call_with_its_status_and_details() -> None:
    context = FakeContext([("x-request-id", "r-1")])
    with pytest.raises(grpc.aio.AbortError):
        await (await _unary(Edge(1), _fail))("request", context)
    assert (context.code, context.details) == (grpc.StatusCode.NOT_FOUND, "No such model.")
    assert context.error_info.reason == "MODEL_NOT_FOUND"
    assert dict(context.error_info.metadata) == {"param": "model"}
    assert context.trailing["x-request-id"] == "r-1"
    assert context.trailing["retry-after"] == "2"
    assert "x-http-status" not in context.trailing


async def test_a_rest_callers_error_is_rendered_for_envoy() -> None:
    context = FakeContext([_REST])
    with pytest.raises(grpc.aio.AbortError):
        await (await _unary(Edge(1), _fail))("request", context)
    assert context.trailing["x-http-status"] == "404"
    error = json.loads(context.trailing["x-ailb-error"])["error"]
    assert (error["message"], error["code"]) == ("No such model.", "model_not_found")


async def test_a_messages_callers_error_is_anthropics() -> None:
    context = FakeContext([("x-envoy-original-path", "/v1/messages?beta=true")])
    with pytest.raises(grpc.aio.AbortError):
        await (await _unary(Edge(0), _fail))("request", context)
    assert context.trailing["x-http-status"] == "529"
    envelope = json.loads(context.trailing["x-ailb-error"])
    assert (envelope["type"], envelope["error"]["type"]) == ("error", "overloaded_error")


async def test_a_fault_of_ours_does_not_tell_its_message() -> None:
    async def fail(request: object, context: object) -> None:
        raise ValueError("my secret prompt")

    context = FakeContext([_REST])
    with pytest.raises(grpc.aio.AbortError):
        await (await _unary(Edge(1), fail))("request", context)
    assert context.code is grpc.StatusCode.INTERNAL
    assert context.error_info.reason == "INTERNAL_ERROR"
    assert "secret" not in repr((context.details, context.trailing))


async def test_an_abort_of_a_servicer_stays_as_it_is() -> None:
    async def abort(request: object, context: FakeContext) -> None:
        await context.abort(grpc.StatusCode.ABORTED, "mine", ())

    context = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await (await _unary(Edge(1), abort))("request", context)
    assert (context.code, context.details) == (grpc.StatusCode.ABORTED, "mine")


async def test_an_overloaded_instance_refuses_chats_but_not_health() -> None:
    edge, go_on = Edge(1), asyncio.Event()

    async def wait(request: object, context: object) -> str:
        await go_on.wait()
        return "done"

    chat = await _unary(edge, wait)
    health = await _unary(edge, _say_id, _HEALTH)
    running = asyncio.create_task(chat("request", FakeContext()))
    await asyncio.sleep(0)
    refused = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await chat("request", refused)
    assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert refused.error_info.reason == OverloadedError.reason.value
    assert refused.trailing["retry-after"] == "1"
    assert await health("request", FakeContext())
    go_on.set()
    assert await running == "done"
    assert await chat("request", FakeContext()) == "done"


@pytest.mark.parametrize(
    "method",
    [_HEALTH, "/ailb.v1.HealthService/GetHealth", "/ailb.v1.MetricsService/GetMetrics"],
)
async def test_what_tells_how_the_instance_is_is_never_refused(method: str) -> None:
    call = await _unary(Edge(0), _say_id, method)
    assert await call("request", FakeContext())


async def test_a_cancelled_call_frees_its_place() -> None:
    edge, entered = Edge(1), asyncio.Event()

    async def wait(request: object, context: object) -> None:
        entered.set()
        await asyncio.Event().wait()

    task = asyncio.create_task((await _unary(edge, wait))("request", FakeContext()))
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await (await _unary(edge, _say_id, "/other/Method"))("request", FakeContext())


async def test_is_idle_when_no_bounded_call_runs() -> None:
    edge, go_on = Edge(9), asyncio.Event()

    async def wait(request: object, context: object) -> None:
        await go_on.wait()

    await edge.wait_idle(60)
    call = await _unary(edge, wait)
    tasks = [asyncio.create_task(call("request", FakeContext())) for _ in range(2)]
    await asyncio.sleep(0)
    idle = asyncio.create_task(edge.wait_idle(60))
    await asyncio.sleep(0)
    assert not idle.done()
    go_on.set()
    await asyncio.gather(*tasks)
    await idle


async def test_a_streams_messages_are_written_and_its_end_is_awaited() -> None:
    log: list[str] = []

    async def stream(request: str, context: object) -> AsyncIterator[str]:
        try:
            yield request + "1"
            yield request + "2"
        finally:
            log.append("closed")

    handler = await _wrapped(Edge(1), grpc.unary_stream_rpc_method_handler(stream))
    context = FakeContext()
    await handler.unary_stream("a", context)
    assert (context.written, log) == (["a1", "a2"], ["closed"])


async def test_a_stream_that_cannot_be_written_is_closed_at_once() -> None:
    log: list[str] = []

    async def stream(request: object, context: object) -> AsyncIterator[str]:
        try:
            yield "1"
        finally:
            log.append("closed")

    class Gone(FakeContext):
        @override
        async def write(self, message: object) -> None:
            raise asyncio.CancelledError

    handler = await _wrapped(Edge(1), grpc.unary_stream_rpc_method_handler(stream))
    with pytest.raises(asyncio.CancelledError):
        await handler.unary_stream("a", Gone())
    assert log == ["closed"]


class _Slow(FakeContext):
    """Whose writes take until `go_on`."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.cut = asyncio.Event(), False

    @override
    async def write(self, message: object) -> None:
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.cut = True
            raise
        self.written.append(message)


async def _ended_while_it_writes(stream: Any, context: _Slow) -> None:
    edge = Edge(1)
    handler = await _wrapped(edge, grpc.unary_stream_rpc_method_handler(stream))
    call = asyncio.create_task(handler.unary_stream("a", context))
    await asyncio.sleep(0)
    ending = asyncio.create_task(edge.interrupt(60))
    await asyncio.sleep(0)
    context.go_on.set()
    await asyncio.wait((call,))
    await ending
    await call


async def test_the_servers_end_lets_a_message_be_written_and_tells_behind_it() -> None:
    async def stream(request: object, context: object) -> AsyncIterator[str]:
        try:
            yield "1"
            yield "never"
        except asyncio.CancelledError:
            yield "ended"
            yield "told"

    context = _Slow()
    await _ended_while_it_writes(stream, context)
    assert (context.written, context.cut) == (["1", "ended", "told"], False)


async def test_the_servers_end_is_a_typed_streams_error_behind_what_is_being_written() -> None:
    async def stream(request: object, context: object) -> AsyncIterator[str]:
        yield "1"
        yield "never"

    context = _Slow()
    with pytest.raises(grpc.aio.AbortError):
        await _ended_while_it_writes(stream, context)
    assert (context.written, context.cut) == (["1"], False)
    assert context.error_info.reason == "SHUTTING_DOWN"


async def test_a_stream_that_breaks_ends_with_its_error() -> None:
    async def stream(request: object, context: object) -> AsyncIterator[str]:
        yield "1"
        raise ModelNotFoundError("gone")

    handler = await _wrapped(Edge(1), grpc.unary_stream_rpc_method_handler(stream))
    context = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_stream("a", context)
    assert (context.written, context.code) == (["1"], grpc.StatusCode.NOT_FOUND)


async def test_an_unknown_method_is_refused_with_a_reason() -> None:
    handler = await _wrapped(Edge(1), None)
    assert handler is not None
    context: Any = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await handler.stream_stream(iter(()), context)
    assert context.error_info.reason == "NOT_IMPLEMENTED"


async def test_what_the_edge_refuses_is_counted_by_its_reason() -> None:
    refused: list[str] = []
    full, open_ = Edge(0, None, refused.append), Edge(1, None, refused.append)
    calls = [
        await _unary(full, _say_id),
        (await _wrapped(open_, None)).stream_stream,
        await _unary(open_, _fail),
    ]
    for call in calls:
        with pytest.raises(grpc.aio.AbortError):
            await call("request", FakeContext())
    open_.refuse()
    with pytest.raises(grpc.aio.AbortError):
        await calls[-1]("request", FakeContext())
    assert refused == ["overloaded", "not_implemented", "shutting_down"]


async def test_bytes_that_are_no_message_are_counted() -> None:
    refused: list[str] = []
    handler: Any = grpc.unary_unary_rpc_method_handler(
        _say_id, request_deserializer=chat_pb2.ChatCompletionParameters.FromString
    )
    call = (await _wrapped(Edge(1, None, refused.append), handler)).unary_unary
    context = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await call(b"\xff\xff", context)
    assert context.error_info.reason == "INVALID_REQUEST"
    assert refused == ["invalid_request"]
