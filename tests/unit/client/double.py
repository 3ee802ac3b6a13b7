"""AILB's gRPC API as a double in the test's own process, on protobuf's messages and stubs."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, TypeAlias

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from typing_extensions import override

from ailb.v1 import (
    chat_pb2,
    chat_service_pb2,
    embedding_pb2,
    embedding_service_pb2,
    health_pb2,
    health_service_pb2,
    model_service_pb2,
)
from ailb.v1.chat_service_pb2_grpc import ChatServiceServicer, add_ChatServiceServicer_to_server
from ailb.v1.embedding_service_pb2_grpc import (
    EmbeddingServiceServicer,
    add_EmbeddingServiceServicer_to_server,
)
from ailb.v1.health_service_pb2_grpc import (
    HealthServiceServicer,
    add_HealthServiceServicer_to_server,
)
from ailb.v1.model_pb2 import Model
from ailb.v1.model_service_pb2_grpc import ModelServiceServicer, add_ModelServiceServicer_to_server

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

MODELS = ("echo", "vendor/other:tag")
SERVED = (
    ("x-request-id", "request-1"),
    ("x-ailb-provider", "double"),
    ("x-ailb-model", "echo-2026"),
    ("x-ailb-overhead-ms", "0.42"),
)


class AilbDouble(
    ChatServiceServicer, EmbeddingServiceServicer, ModelServiceServicer, HealthServiceServicer
):
    """Answers by the model's name.

    `echo` repeats the last turn, word by word when streamed; `endless` streams until cancelled;
    `late` never answers; `limited`, `odd` and `bare` fail; `cut` fails after two pieces. An
    embedding is the text's length and 0.1.
    """

    def __init__(self) -> None:
        self.metadata: list[dict[str, str | bytes]] = []
        self.chats: list[chat_pb2.ChatCompletionParameters] = []
        self.embeddings: list[embedding_pb2.EmbeddingParameters] = []
        self.cancelled = asyncio.Event()
        self.models: tuple[str, ...] = MODELS
        options = (("grpc.max_receive_message_length", 64 * 1024 * 1024),)
        self._server = grpc.aio.server(options=options)
        add_ChatServiceServicer_to_server(self, self._server)
        add_EmbeddingServiceServicer_to_server(self, self._server)
        add_ModelServiceServicer_to_server(self, self._server)
        add_HealthServiceServicer_to_server(self, self._server)

    async def start(self, credentials: grpc.ServerCredentials | None = None) -> str:
        """Listens on a free port; returns the target."""
        if credentials is None:
            port = self._server.add_insecure_port("127.0.0.1:0")
        else:
            port = self._server.add_secure_port("127.0.0.1:0", credentials)
        await self._server.start()
        return f"127.0.0.1:{port}"

    async def stop(self) -> None:
        """Ends every call at once."""
        await self._server.stop(None)

    @override
    async def CreateChatCompletion(
        self, request: chat_service_pb2.CreateChatCompletionRequest, context: Context
    ) -> chat_service_pb2.CreateChatCompletionResponse:
        words = await self._admit(request.parameters, context)
        message = chat_pb2.Message(role=chat_pb2.ROLE_ASSISTANT, content=[_part(words)])
        choice = chat_pb2.Choice(message=message, finish_reason=chat_pb2.FINISH_REASON_STOP)
        completion = chat_pb2.ChatCompletion(
            id="c-1", created=2**40, choices=[choice], usage=chat_pb2.Usage(total_tokens=7)
        )
        return chat_service_pb2.CreateChatCompletionResponse(completion=completion)

    @override
    async def StreamChatCompletion(
        self, request: chat_service_pb2.StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[chat_service_pb2.StreamChatCompletionResponse]:
        words = await self._admit(request.parameters, context)
        try:
            async for word in _pieces(words, endless=request.parameters.model == "endless"):
                delta = chat_pb2.Message(content=[_part(word)])
                chunk = chat_pb2.ChatCompletionChunk(choices=[chat_pb2.ChoiceDelta(delta=delta)])
                yield chat_service_pb2.StreamChatCompletionResponse(chunk=chunk)
        finally:
            if context.cancelled() or request.parameters.model == "endless":
                self.cancelled.set()
        if request.parameters.model == "cut":
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")

    @override
    async def CreateEmbeddings(
        self, request: embedding_service_pb2.CreateEmbeddingsRequest, context: Context
    ) -> embedding_service_pb2.CreateEmbeddingsResponse:
        self._note(context)
        self.embeddings.append(request.parameters)
        fault = _FAULTS.get(request.parameters.model)
        if fault is not None:
            await fault(context)
        await context.send_initial_metadata(SERVED)
        return embedding_service_pb2.CreateEmbeddingsResponse(
            embeddings=[
                embedding_pb2.Embedding(values=[len(text), 0.1])
                for text in request.parameters.inputs
            ],
            model="echo-2026",
            usage=embedding_pb2.EmbeddingUsage(prompt_tokens=3, total_tokens=3),
        )

    @override
    async def ListModels(
        self, request: model_service_pb2.ListModelsRequest, context: Context
    ) -> model_service_pb2.ListModelsResponse:
        self._note(context)
        models = [Model(id=name, object="model", created=1, owned_by="d") for name in self.models]
        return model_service_pb2.ListModelsResponse(object="list", data=models)

    @override
    async def GetModel(
        self, request: model_service_pb2.GetModelRequest, context: Context
    ) -> model_service_pb2.GetModelResponse:
        if request.id not in self.models:
            await _abort(context, grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
        return model_service_pb2.GetModelResponse(
            id=request.id, object="model", created=1, owned_by="d"
        )

    @override
    async def GetHealth(
        self, request: health_service_pb2.GetHealthRequest, context: Context
    ) -> health_service_pb2.GetHealthResponse:
        part = health_pb2.ComponentHealth(name="store", state=health_pb2.HEALTH_STATE_OK)
        return health_service_pb2.GetHealthResponse(
            state=health_pb2.HEALTH_STATE_DEGRADED, instance="ailb-1", components=[part]
        )

    async def _admit(
        self, parameters: chat_pb2.ChatCompletionParameters, context: Context
    ) -> list[str]:
        """The answer's words; does not return for the models that fail."""
        self._note(context)
        self.chats.append(parameters)
        fault = _FAULTS.get(parameters.model)
        if fault is not None:
            await fault(context)
        if parameters.model == "late":
            await asyncio.Event().wait()
        await context.send_initial_metadata(SERVED)
        said = parameters.messages[-1].content[0].text.split(" ")
        return [*(f"{word} " for word in said[:-1]), said[-1]]

    def _note(self, context: Context) -> None:
        self.metadata.append(dict(context.invocation_metadata() or ()))


def _part(words: str | list[str]) -> chat_pb2.ContentPart:
    return chat_pb2.ContentPart(text="".join(words))


async def _pieces(words: list[str], *, endless: bool) -> AsyncIterator[str]:
    for word in words:
        yield word
    while endless:
        await asyncio.sleep(0.001)
        yield "more "


async def _abort(context: Context, code: grpc.StatusCode, reason: str) -> None:
    info = ErrorInfo(reason=reason, domain="ailb", metadata={"provider": "double"})
    retry = RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
    status = Status(code=code.value[0], message="in words", details=[_any(info), _any(retry)])
    await _abort_with(context, code, status.SerializeToString())


async def _abort_with(context: Context, code: grpc.StatusCode, details: bytes) -> None:
    metadata = (("x-request-id", "request-2"), ("grpc-status-details-bin", details))
    await context.abort(code, "in words", metadata)


def _any(message: ErrorInfo | RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


async def _limited(context: Context) -> None:
    await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMIT_EXCEEDED")


async def _odd(context: Context) -> None:
    await _abort_with(context, grpc.StatusCode.INTERNAL, b"\xff\xff")


async def _bare(context: Context) -> None:
    await context.abort(grpc.StatusCode.CANCELLED, "in words")


_FAULTS: dict[str, Callable[[Context], Any]] = {"limited": _limited, "odd": _odd, "bare": _bare}
