"""The calls."""

from collections.abc import Sequence

from ailb_client._gen.ailb.v1 import (
    ChatCompletion,
    ChatCompletionParameters,
    CreateChatCompletionRequest,
    CreateChatCompletionResponse,
    CreateEmbeddingsRequest,
    EmbeddingParameters,
    GetHealthRequest,
    GetHealthResponse,
    GetModelRequest,
    ListModelsRequest,
    ListModelsResponse,
    Model,
    ResponseFormat,
    StreamChatCompletionRequest,
    Tool,
)
from ailb_client.answer import Answer, EmbeddingAnswer, served
from ailb_client.conversation import Turns, conversation
from ailb_client.embeddings import embeddings_response
from ailb_client.stream import ChatStream
from ailb_client.transport import Transport

# What AILB answers without a provider, it answers at once.
_LOOKUP_TIMEOUT_S = 10.0


class Client:
    """AILB's gRPC API. Made by `connect`; may be used by any number of tasks of one event loop.

    Every call raises AilbError. A task that is cancelled cancels its call.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def chat(
        self,
        messages: Turns,
        *,
        model: str,
        temperature: float | None = None,
        max_completion_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        response_format: ResponseFormat | None = None,
    ) -> ChatCompletion:
        """Answers a conversation, or a text. `create` takes every other parameter."""
        parameters = ChatCompletionParameters(
            model=model,
            messages=conversation(messages),
            temperature=temperature,
            max_completion_tokens=max_completion_tokens,
            tools=list(tools),
            response_format=response_format,
        )
        return (await self.create(parameters)).completion

    def chat_stream(
        self,
        messages: Turns,
        *,
        model: str,
        temperature: float | None = None,
        max_completion_tokens: int | None = None,
        tools: Sequence[Tool] = (),
        response_format: ResponseFormat | None = None,
    ) -> ChatStream:
        """Answers piece by piece. `stream` takes every other parameter."""
        parameters = ChatCompletionParameters(
            model=model,
            messages=conversation(messages),
            temperature=temperature,
            max_completion_tokens=max_completion_tokens,
            tools=list(tools),
            response_format=response_format,
        )
        return self.stream(parameters)

    async def create(
        self, parameters: ChatCompletionParameters, *, timeout_s: float | None = None
    ) -> Answer:
        """Answers in one piece. `timeout_s` replaces the connection's."""
        request = CreateChatCompletionRequest(parameters=parameters)
        timeout_s = self._transport.timeout_s if timeout_s is None else timeout_s
        data, metadata = await self._transport.unary(
            "ChatService/CreateChatCompletion", request, timeout_s
        )
        completion = CreateChatCompletionResponse.parse(data).completion or ChatCompletion()
        return Answer(completion, served(metadata))

    def stream(
        self, parameters: ChatCompletionParameters, *, timeout_s: float | None = None
    ) -> ChatStream:
        """Answers piece by piece. `timeout_s` replaces the connection's, for the whole answer."""
        request = StreamChatCompletionRequest(parameters=parameters)
        timeout_s = self._transport.timeout_s if timeout_s is None else timeout_s
        call = self._transport.stream("ChatService/StreamChatCompletion", request, timeout_s)
        return ChatStream(call, self._transport.target)

    async def embed(
        self, texts: str | Sequence[str], *, model: str, dimensions: int | None = None
    ) -> list[list[float]]:
        """A vector for each text, in order. `create_embeddings` takes every other parameter."""
        inputs = [texts] if isinstance(texts, str) else list(texts)
        parameters = EmbeddingParameters(model=model, inputs=inputs, dimensions=dimensions)
        answer = await self.create_embeddings(parameters)
        return [embedding.values for embedding in answer.response.embeddings]

    async def create_embeddings(
        self, parameters: EmbeddingParameters, *, timeout_s: float | None = None
    ) -> EmbeddingAnswer:
        """Embeds texts, or texts as tokens. `timeout_s` replaces the connection's."""
        request = CreateEmbeddingsRequest(parameters=parameters)
        timeout_s = self._transport.timeout_s if timeout_s is None else timeout_s
        data, metadata = await self._transport.unary(
            "EmbeddingService/CreateEmbeddings", request, timeout_s
        )
        return EmbeddingAnswer(embeddings_response(data), served(metadata))

    async def models(self) -> list[Model]:
        """Every model that may be named, ordered by id."""
        data = await self._look_up("ModelService/ListModels", ListModelsRequest())
        return ListModelsResponse.parse(data).data

    async def model(self, model_id: str) -> Model:
        """One model. AilbError with the reason MODEL_NOT_FOUND if no provider serves it."""
        # The response has the fields of Model, with the same numbers.
        return Model.parse(await self._look_up("ModelService/GetModel", GetModelRequest(model_id)))

    async def health(self) -> GetHealthResponse:
        """How this instance and its parts are."""
        return GetHealthResponse.parse(
            await self._look_up("HealthService/GetHealth", GetHealthRequest())
        )

    async def _look_up(
        self, method: str, request: ListModelsRequest | GetModelRequest | GetHealthRequest
    ) -> bytes:
        timeout_s = min(self._transport.timeout_s, _LOOKUP_TIMEOUT_S)
        return (await self._transport.unary(method, request, timeout_s))[0]
