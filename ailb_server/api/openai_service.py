"""`ailb.openai.v1.OpenAIService`: OpenAI's REST format over the pipeline."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, nullcontext
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb.openai.v1 import openai_service_pb2_grpc as pb_grpc
from ailb_server.api import errors
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.call import REQUEST_ID_KEY, Call, Interruption, Refusals, current_call
from ailb_server.api.call_watch import told_of
from ailb_server.api.call_wishes import call_wishes
from ailb_server.api.completion_wire import parse_completion_request
from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.api.heartbeat import Heartbeat
from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.api.response import EVENT_STREAM, Response
from ailb_server.domain.chat import ChatRequest, is_last
from ailb_server.domain.errors import AilbError
from ailb_server.pipeline.chat import Chats

_JSON = "application/json"
_STILL = nullcontext()
# A comment, by the format of server-sent events: readers skip it.
_BEAT = b": keep-alive\n\n"

Context: TypeAlias = grpc.aio.ServicerContext[Any, HttpBody]
Parse: TypeAlias = Callable[[bytes], ChatRequest]


class OpenAIService(pb_grpc.OpenAIServiceServicer):
    """Relays requests and answers byte for byte.

    A stream that says nothing for `heartbeat_s` (HEARTBEAT_S unless given) gets a comment, before
    its first event too. That spends the status: the headers that tell of the answer are then left
    out, and a failure is told by an event.
    """

    def __init__(self, chats: Chats, heartbeat_s: float | None = None) -> None:
        self._chats = chats
        self._heartbeat_s = heartbeat_s

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

    # One generator and not three: each costs every request, and every piece of a stream.
    async def _relayed(
        self, parse: Parse, data: bytes, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        call = current_call.get()
        response = Response(context, call.writing)
        try:
            with Refusals(call):
                request = parse(data)
            content_type = EVENT_STREAM if request.stream else _JSON
            heart = Heartbeat(lambda: response.beat(_ids(call), _BEAT), self._heartbeat_s)
            async with heart.running() if request.stream else _STILL:
                with Interruption(call):
                    async with self._chats.open(request, call_wishes(context)) as answer:
                        await heart.pause()
                        await response.begin(answer_metadata(call, answer))
                        heart.resume()
                        async for chunk in answer.chunks:
                            # Empty where all that came was usage that nobody asked for.
                            if chunk.wire:
                                await heart.pause()
                                call.writing.last = is_last(chunk, stream=request.stream)
                                yield HttpBody(content_type=content_type, data=chunk.wire)
                                heart.resume()
        except Exception as error:
            if not call.rest:
                raise
            failure = told_of(errors.as_ailb_error(error, call.request_id))
        else:
            return
        call.writing.last = True
        if await response.begin(_failed(call, failure)):
            yield HttpBody(content_type=_JSON, data=errors.openai_body(failure))
        elif request.stream:
            yield _error_event(failure)


def _ids(call: Call) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_KEY, call.request_id),)


def _failed(call: Call, error: AilbError) -> tuple[tuple[str, str], ...]:
    return (
        *_ids(call),
        (errors.HTTP_STATUS_KEY, str(errors.http_status(error))),
        *errors.response_metadata(error),
    )


def _error_event(error: AilbError) -> HttpBody:
    """The status is spent: the stream's last event, without `[DONE]`."""
    line = b" ".join(errors.openai_body(error).splitlines())
    return HttpBody(content_type=EVENT_STREAM, data=b"data: " + line + b"\n\n")
