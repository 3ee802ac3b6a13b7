"""Every error has OpenAI's shape, whoever refused: the server, gRPC, or Envoy."""

import json
from collections.abc import AsyncIterator, Sequence

import aiohttp
import grpc
import pytest
from google.api.httpbody_pb2 import HttpBody
from google.protobuf import any_pb2
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ailb.v1 import health_pb2, health_service_pb2, model_service_pb2
from tests.e2e.envoy.conftest import Edge
from tests.e2e.envoy.replies import Reply, reply_of
from tests.e2e.envoy.stub import ChatRequest, Context, GetModel

pytestmark = pytest.mark.asyncio(loop_scope="session")

CHAT = "/v1/chat/completions"
TOLD = {
    "error": {
        "message": 'No "model" é\n with that name',
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }
}

Metadata = Sequence[tuple[str, str]]


def refusing(
    code: grpc.StatusCode, message: str, trailing: Metadata = (), initial: Metadata = ()
) -> GetModel:
    """A method of the stub that aborts, before or after initial metadata."""

    async def get_model(
        request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        if initial:
            await context.send_initial_metadata(tuple(initial))
        await context.abort(code, message, tuple(trailing))

    return get_model


async def get(edge: Edge, path: str = "/v1/models/x") -> Reply:
    async with edge.http.get(path) as response:
        return await reply_of(response)


async def post(edge: Edge, data: bytes = b"{}") -> Reply:
    async with edge.http.post(CHAT, data=data) as response:
        return await reply_of(response)


@pytest.mark.parametrize(
    "status", [400, 401, 402, 403, 404, 409, 422, 429, 500, 502, 503, 504, 529]
)
async def test_the_server_s_own_error_passes_with_its_status(edge: Edge, status: int) -> None:
    body = json.dumps(TOLD).encode()

    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        await context.send_initial_metadata(
            (
                ("x-http-status", str(status)),
                ("retry-after", "7"),
                ("x-ailb-provider", "openai"),
                ("x-ailb-overhead-ms", "0.4"),
            )
        )
        yield HttpBody(content_type="application/json", data=body)

    edge.stub.chat = chat
    reply = await post(edge)
    assert (reply.status, reply.body) == (status, body)
    assert reply.error() == TOLD["error"]
    assert reply.headers["retry-after"] == "7"
    assert reply.headers["x-ailb-provider"] == "openai"
    assert reply.headers["x-ailb-overhead-ms"] == "0.4"


@pytest.mark.parametrize("initial", [(), (("x-ailb-provider", "openai"),)])
@pytest.mark.parametrize(
    ("code", "status"),
    [
        (grpc.StatusCode.NOT_FOUND, "404"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "402"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "429"),
        (grpc.StatusCode.INTERNAL, "502"),
        (grpc.StatusCode.UNAUTHENTICATED, "401"),
    ],
)
async def test_a_typed_error_brings_its_body(
    edge: Edge, code: grpc.StatusCode, status: str, initial: Metadata
) -> None:
    trailing = [
        ("x-http-status", status),
        ("x-ailb-error", json.dumps(TOLD)),
        ("retry-after", "7"),
    ]
    edge.stub.get_model = refusing(code, "for gRPC", trailing, initial)
    reply = await get(edge)
    assert (reply.status, reply.json()) == (int(status), TOLD)
    reply.error()
    assert reply.headers["retry-after"] == "7"
    assert reply.headers.get("x-ailb-provider") == (initial[0][1] if initial else None)


async def test_a_typed_error_may_be_4_kib_and_have_details(edge: Edge) -> None:
    details = any_pb2.Any()
    details.Pack(ErrorInfo(reason="MODEL_NOT_FOUND", domain="ailb"))
    status = Status(code=5, message="x", details=[details])
    told = {"error": {**TOLD["error"], "message": "é" * 600}}
    text = json.dumps(told)
    assert len(text) > 3600

    async def get_model(
        request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        context.set_trailing_metadata(
            (
                ("x-http-status", "404"),
                ("x-ailb-error", text),
                ("grpc-status-details-bin", status.SerializeToString()),
            )
        )
        await context.abort(grpc.StatusCode.NOT_FOUND, "x")

    edge.stub.get_model = get_model
    reply = await get(edge)
    assert (reply.status, reply.json()) == (404, told)
    reply.error()


async def test_the_chat_method_may_fail_like_a_typed_one(edge: Edge) -> None:
    """As it does where the one interceptor refuses a call before the method runs."""
    for initial in ((), (("x-ailb-provider", "openai"),)):

        async def chat(
            request: ChatRequest, context: Context, initial: Metadata = initial
        ) -> AsyncIterator[HttpBody]:
            if initial:
                await context.send_initial_metadata(tuple(initial))
            told = (("x-http-status", "401"), ("x-ailb-error", json.dumps(TOLD)))
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, "no", told)
            yield HttpBody()

        edge.stub.chat = chat
        reply = await post(edge)
        assert (reply.status, reply.json()) == (401, TOLD)
        reply.error()


@pytest.mark.parametrize(
    ("code", "status", "type_", "openai_code"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, 400, "invalid_request_error", None),
        (grpc.StatusCode.FAILED_PRECONDITION, 400, "invalid_request_error", None),
        (grpc.StatusCode.OUT_OF_RANGE, 400, "invalid_request_error", None),
        (grpc.StatusCode.UNAUTHENTICATED, 401, "invalid_request_error", "invalid_api_key"),
        (grpc.StatusCode.PERMISSION_DENIED, 403, "invalid_request_error", "permission_denied"),
        (grpc.StatusCode.NOT_FOUND, 404, "invalid_request_error", "not_found"),
        (grpc.StatusCode.ALREADY_EXISTS, 409, "invalid_request_error", "conflict"),
        (grpc.StatusCode.ABORTED, 409, "invalid_request_error", "conflict"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, 503, "server_error", "overloaded"),
        (grpc.StatusCode.CANCELLED, 503, "server_error", "server_unavailable"),
        (grpc.StatusCode.UNIMPLEMENTED, 501, "server_error", "not_implemented"),
        (grpc.StatusCode.UNAVAILABLE, 503, "server_error", "server_unavailable"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, 504, "server_error", "timeout"),
        (grpc.StatusCode.INTERNAL, 500, "server_error", "internal_error"),
        (grpc.StatusCode.UNKNOWN, 500, "server_error", "internal_error"),
        (grpc.StatusCode.DATA_LOSS, 500, "server_error", "internal_error"),
    ],
)
@pytest.mark.parametrize("initial", [(), (("x-ailb-provider", "openai"),)])
async def test_an_error_that_only_grpc_knows(
    edge: Edge,
    code: grpc.StatusCode,
    status: int,
    type_: str,
    openai_code: str | None,
    initial: Metadata,
) -> None:
    message = 'said "so"\\ and é\n"message":"x","details":[]}'
    edge.stub.get_model = refusing(code, message, (), initial)
    reply = await get(edge)
    assert reply.status == status
    error = reply.error()
    assert (error["type"], error["param"], error["code"]) == (type_, None, openai_code)
    # What our own code did not write may quote a prompt.
    assert (error["message"] == message) == (type_ == "invalid_request_error")
    assert reply.headers.get("retry-after") == ("1" if status == 503 else None)


async def test_an_exception_of_the_server_is_not_quoted(edge: Edge) -> None:
    async def get_model(
        request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        raise ValueError("secret prompt")

    edge.stub.get_model = get_model
    reply = await get(edge)
    assert (reply.status, reply.error()["code"]) == (500, "internal_error")
    assert b"secret" not in reply.body


async def test_a_success_may_have_a_status_of_its_own(edge: Edge) -> None:
    async def get_health(
        request: health_service_pb2.GetHealthRequest, context: Context
    ) -> health_service_pb2.GetHealthResponse:
        await context.send_initial_metadata((("x-http-status", "503"),))
        return health_service_pb2.GetHealthResponse(state=health_pb2.HealthState.HEALTH_STATE_DOWN)

    edge.stub.get_health = get_health
    reply = await get(edge, "/healthz")
    assert (reply.status, reply.json()["state"]) == (503, "HEALTH_STATE_DOWN")
    reply.require_clean()


async def test_a_stream_that_aborts_has_spent_its_status(edge: Edge) -> None:
    async def chat(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
        yield HttpBody(content_type="text/event-stream", data=b"data: 1\n\n")
        await context.abort(grpc.StatusCode.INTERNAL, "too late")

    edge.stub.chat = chat
    reply = await post(edge)
    assert (reply.status, reply.body) == (200, b"data: 1\n\n")


async def test_an_answer_too_large_to_transcode_is_the_server_s_fault(edge: Edge) -> None:
    async def get_model(
        request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        return model_service_pb2.GetModelResponse(id="a" * (51 << 20))

    edge.stub.get_model = get_model
    reply = await get(edge)
    assert (reply.status, reply.error()["code"]) == (500, "internal_error")


async def test_errors_leave_the_connection_usable(edge: Edge) -> None:
    made: list[object] = []

    async def note(*happened: object) -> None:
        made.append(happened)

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(note)
    async with aiohttp.ClientSession(edge.url, trace_configs=[trace]) as http:
        for path in ("/nope", "/v1/models/x", "/nope", "/v1/models"):
            async with http.get(path) as response:
                await response.read()
    assert len(made) == 1
