"""`ailb.openai.v1.OpenAIService`: OpenAI's REST format over the pipeline."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb.openai.v1 import openai_service_pb2_grpc as pb_grpc
from ailb_server.api import errors
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.completion_wire import parse_completion_request
from ailb_server.api.edge import REQUEST_ID_KEY, Call, current_call, interruption
from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import AilbError
from ailb_server.pipeline.chat import ChatPipeline

_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"

Context: TypeAlias = grpc.aio.ServicerContext[Any, HttpBody]
Parse: TypeAlias = Callable[[bytes], ChatRequest]


class OpenAIService(pb_grpc.OpenAIServiceServicer):
    """Relays requests and answers byte for byte."""

    def __init__(self, pipeline: ChatPipeline) -> None:
        self._pipeline = pipeline

    # Not `async def`: the generator that relays is the call's, without one around it.
    @override
    def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        """A REST caller gets errors as OpenAI writes them, a gRPC caller as gRPC does."""
        return self._relayed(parse_chat_request, request.body.data, context)

    @override
    def CreateCompletion(
        self, request: pb.CreateCompletionRequest, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        """As CreateChatCompletion."""
        return self._relayed(parse_completion_request, request.body.data, context)

    @override
    async def CreateEmbedding(
        self, request: pb.CreateEmbeddingRequest, context: Context
    ) -> HttpBody:
        """As CreateChatCompletion, in one message."""
        answer = self._relayed(parse_embedding_request, request.body.data, context)
        async with aclosing(answer) as bodies:
            (body,) = [body async for body in bodies]
        return body

    async def _relayed(
        self, parse: Parse, data: bytes, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        call = current_call.get()
        begun, failure = False, None
        try:
            request = parse(data)
            content_type = _SSE if request.stream else _JSON
            with interruption(call):
                async with self._pipeline.open(request) as answer:
                    begun = True
                    await context.send_initial_metadata(answer_metadata(call, request, answer))
                    async for chunk in answer.chunks:
                        # Empty where all that came was usage that the caller did not ask for.
                        if chunk.wire:
                            yield HttpBody(content_type=content_type, data=chunk.wire)
        except Exception as error:
            if not call.rest:
                raise
            failure = errors.as_ailb_error(error, call.request_id)
        if failure is None:
            return
        if not begun:
            await context.send_initial_metadata(_failed(call, failure))
        yield (
            _error_event(failure)
            if begun
            else HttpBody(content_type=_JSON, data=errors.openai_body(failure))
        )


def _failed(call: Call, error: AilbError) -> tuple[tuple[str, str], ...]:
    return (
        (REQUEST_ID_KEY, call.request_id),
        (errors.HTTP_STATUS_KEY, str(errors.http_status(error))),
        *errors.response_metadata(error),
    )


def _error_event(error: AilbError) -> HttpBody:
    """The status is spent: the stream's last event, without `[DONE]`."""
    line = b" ".join(errors.openai_body(error).splitlines())
    return HttpBody(content_type=_SSE, data=b"data: " + line + b"\n\n")
