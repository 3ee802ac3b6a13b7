"""A gRPC server behind Envoy: each test writes its answers and reads what reached it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from grpc_health.v1 import health as grpc_health
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from typing_extensions import override

from ailb.openai.v1 import openai_service_pb2, openai_service_pb2_grpc
from ailb.v1 import (
    health_pb2,
    health_service_pb2,
    health_service_pb2_grpc,
    metrics_service_pb2,
    metrics_service_pb2_grpc,
    model_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
)

# What the server needs so that Envoy's limits are the ones that callers meet.
OPTIONS = [
    ("grpc.max_receive_message_length", 64 << 20),
    ("grpc.max_metadata_size", 32 << 10),
    ("grpc.absolute_max_metadata_size", 64 << 10),
    ("grpc.server.max_pending_requests", 8192),
    ("grpc.server.max_pending_requests_hard_limit", 16384),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
ChatRequest: TypeAlias = openai_service_pb2.CreateChatCompletionRequest
Chat: TypeAlias = Callable[[ChatRequest, Context], AsyncIterator[HttpBody]]
GetModel: TypeAlias = Callable[
    [model_service_pb2.GetModelRequest, Context], Awaitable[model_service_pb2.GetModelResponse]
]
GetHealth: TypeAlias = Callable[
    [health_service_pb2.GetHealthRequest, Context], Awaitable[health_service_pb2.GetHealthResponse]
]


@dataclass(frozen=True, slots=True)
class Seen:
    """One call as the server saw it."""

    method: str
    metadata: dict[str, str]


async def echo(request: ChatRequest, context: Context) -> AsyncIterator[HttpBody]:
    """The body comes back as it came; a big one as its length."""
    data = request.body.data
    yield HttpBody(
        content_type="application/json", data=data if len(data) < 1 << 20 else b"%d" % len(data)
    )


async def model_of_that_name(
    request: model_service_pb2.GetModelRequest, context: Context
) -> model_service_pb2.GetModelResponse:
    """Every model is there."""
    return model_service_pb2.GetModelResponse(
        id=request.id, object="model", created=7, owned_by="stub"
    )


async def healthy(
    request: health_service_pb2.GetHealthRequest, context: Context
) -> health_service_pb2.GetHealthResponse:
    """All is well."""
    return health_service_pb2.GetHealthResponse(
        state=health_pb2.HealthState.HEALTH_STATE_OK, instance="stub"
    )


@dataclass(slots=True)
class Stub:
    """`chat`, `get_model` and `get_health` are the answers; `seen` grows by each call. `serving` is
    what load balancers ask."""

    chat: Chat = echo
    get_model: GetModel = model_of_that_name
    get_health: GetHealth = healthy
    seen: list[Seen] = field(default_factory=list)
    serving: grpc_health.aio.HealthServicer = field(default_factory=grpc_health.aio.HealthServicer)

    async def called(self) -> None:
        """Returns once a call has come in, within 5 s."""
        async with asyncio.timeout(5):
            while not self.seen:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def reset(self) -> None:
        """Back to the plain answers."""
        self.chat, self.get_model, self.get_health = echo, model_of_that_name, healthy
        self.seen.clear()


class _Witness(grpc.aio.ServerInterceptor):
    """Sees every call, of unknown methods too; but not Envoy's own, which look after health."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    @override
    async def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        metadata = {key: str(value) for key, value in details.invocation_metadata or ()}
        if not details.method.startswith("/grpc.health.v1.Health/"):
            self._stub.seen.append(Seen(details.method, metadata))
        return await continuation(details)


class _OpenAI(openai_service_pb2_grpc.OpenAIServiceServicer):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    @override
    async def CreateChatCompletion(
        self, request: ChatRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        async for body in self._stub.chat(request, context):
            yield body

    @override
    async def CreateCompletion(
        self, request: openai_service_pb2.CreateCompletionRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        async for body in self._stub.chat(ChatRequest(body=request.body), context):
            yield body

    @override
    async def CreateEmbedding(
        self, request: openai_service_pb2.CreateEmbeddingRequest, context: Context
    ) -> HttpBody:
        (body,) = [b async for b in self._stub.chat(ChatRequest(body=request.body), context)]
        return body


class _Models(model_service_pb2_grpc.ModelServiceServicer):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    @override
    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        model = model_pb2.Model(id="a/b:c", object="model", owned_by="stub")
        return model_service_pb2.ListModelsResponse(object="list", data=[model])

    @override
    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        return await self._stub.get_model(request, context)


class _Health(health_service_pb2_grpc.HealthServiceServicer):
    def __init__(self, stub: Stub) -> None:
        self._stub = stub

    @override
    async def GetHealth(
        self, request: health_service_pb2.GetHealthRequest, context: Context
    ) -> health_service_pb2.GetHealthResponse:
        return await self._stub.get_health(request, context)


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    @override
    async def GetMetrics(
        self, request: metrics_service_pb2.GetMetricsRequest, context: Context
    ) -> metrics_service_pb2.GetMetricsResponse:
        body = HttpBody(content_type="text/plain; version=0.0.4", data=b"up 1\n")
        return metrics_service_pb2.GetMetricsResponse(body=body)


def register(stub: Stub) -> Sequence[Callable[[grpc.aio.Server], None]]:
    """What adds the stub's services to a server."""
    return (
        partial(openai_service_pb2_grpc.add_OpenAIServiceServicer_to_server, _OpenAI(stub)),
        partial(model_service_pb2_grpc.add_ModelServiceServicer_to_server, _Models(stub)),
        partial(health_service_pb2_grpc.add_HealthServiceServicer_to_server, _Health(stub)),
        partial(metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server, _Metrics()),
    )


async def serve(stub: Stub, port: int = 0) -> tuple[grpc.aio.Server, int]:
    """The started server, every service on it that the real one has too, and its port."""
    server = grpc.aio.server(interceptors=[_Witness(stub)], options=OPTIONS)
    for add in register(stub):
        add(server)
    health_pb2_grpc.add_HealthServicer_to_server(stub.serving, server)
    reflection.enable_server_reflection(["ailb.v1.ModelService"], server)
    port = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, port
