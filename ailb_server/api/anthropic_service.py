"""`ailb.anthropic.v1.AnthropicService`: Anthropic's Messages format over the pipeline."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, nullcontext
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from typing_extensions import override

from ailb.anthropic.v1 import anthropic_service_pb2 as pb
from ailb.anthropic.v1 import anthropic_service_pb2_grpc as pb_grpc
from ailb_server.api import anthropic_errors, errors
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.anthropic_wire_answer import message_body
from ailb_server.api.anthropic_wire_request import MessagesRequest, parse_messages_request
from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.api.call import REQUEST_ID_KEY, Call, Interruption, Refusals, current_call
from ailb_server.api.call_watch import told_of
from ailb_server.api.call_wishes import call_wishes
from ailb_server.api.heartbeat import Heartbeat
from ailb_server.api.response import EVENT_STREAM, Response
from ailb_server.domain.chat import tells_end
from ailb_server.domain.errors import AilbError
from ailb_server.pipeline.chat import ChatAnswer, Chats
from ailb_server.pipeline.counting import TokenCounting

# The header in which the official SDK looks for it.
ANTHROPIC_REQUEST_ID_KEY = "request-id"
_JSON = "application/json"
# A ping may stand anywhere among the events: the official SDK (anthropic 2.11, `_streaming.py`)
# skips it before `message_start` too.
_PING = b'event: ping\ndata: {"type": "ping"}\n\n'

Context: TypeAlias = grpc.aio.ServicerContext[Any, HttpBody]


class AnthropicService(pb_grpc.AnthropicServiceServicer):
    """Relays messages to Anthropic providers byte for byte, and translates for all others.

    A stream that says nothing for `heartbeat_s` (HEARTBEAT_S unless given) gets a `ping`, before
    its first event too: see `OpenAIService`.
    """

    def __init__(
        self,
        chats: Chats,
        counting: TokenCounting,
        heartbeat_s: float | None = None,
    ) -> None:
        self._chats = chats
        self._counting = counting
        self._heartbeat_s = heartbeat_s

    @override
    async def CreateMessage(
        self, request: pb.CreateMessageRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """A REST caller gets errors as Anthropic writes them, a gRPC caller as gRPC does."""
        call = current_call.get()
        response = Response(context, call.writing)
        failure = None
        try:
            with Refusals(call):
                asked = parse_messages_request(request.body.data, _headers(context))
            with Interruption(call):
                async with aclosing(self._answered(asked, response, context)) as bodies:
                    async for body in bodies:
                        yield body
        except Exception as error:
            if not call.rest:
                raise
            failure = told_of(errors.as_ailb_error(error, call.request_id))
        if failure is None:
            return
        call.writing.last = True
        if await response.begin(_failed(call, failure)):
            yield _error(call, failure)
        elif asked.chat.stream:
            event = anthropic_errors.error_event(failure, call.request_id)
            yield HttpBody(content_type=EVENT_STREAM, data=event)

    async def _answered(
        self, asked: MessagesRequest, response: Response, context: Context
    ) -> AsyncGenerator[HttpBody, None]:
        call, stream = current_call.get(), asked.chat.stream
        heart = Heartbeat(lambda: response.beat(_ids(call), _PING), self._heartbeat_s)
        async with heart.running() if stream else nullcontext():
            with Interruption(call):
                async with (
                    self._chats.open(asked.chat, call_wishes(context)) as answer,
                    aclosing(_written(asked, answer)) as pieces,
                ):
                    async for translated, wire in pieces:
                        await heart.pause()
                        if not response.begun:
                            told = _told(call, asked, answer, translated=translated)
                            await response.begin(told)
                        call.writing.last = not stream or tells_end(wire)
                        yield HttpBody(content_type=EVENT_STREAM if stream else _JSON, data=wire)
                        heart.resume()

    @override
    async def CountTokens(self, request: pb.CountTokensRequest, context: Context) -> HttpBody:
        """The count of an Anthropic provider, byte for byte; errors as of `CreateMessage`."""
        call = current_call.get()
        try:
            with Refusals(call):
                asked = parse_messages_request(request.body.data, _headers(context))
            with Interruption(call):
                counted = await self._counting.count(
                    asked.chat, call.principal, call_wishes(context)
                )
        except Exception as error:
            if not call.rest:
                raise
            failure = told_of(errors.as_ailb_error(error, call.request_id))
            await context.send_initial_metadata(_failed(call, failure))
            return _error(call, failure)
        await context.send_initial_metadata(_ids(call))
        return HttpBody(content_type=_JSON, data=counted)


async def _written(
    asked: MessagesRequest, answer: ChatAnswer
) -> AsyncGenerator[tuple[bool, bytes], None]:
    """The answer's pieces, none of them empty, and whether they are translated."""
    writer: StreamWriter | None = None
    async for chunk in answer.chunks:
        if chunk.wire_format == "anthropic":
            wire = chunk.wire
        elif asked.chat.stream:
            writer = writer or StreamWriter()
            wire = writer.write(chunk)
        else:
            wire = message_body(chunk)
        if wire:
            yield chunk.wire_format != "anthropic", wire
    if writer is not None:
        yield True, writer.finish()


def _headers(context: Context) -> dict[str, str]:
    """The call's metadata; a header that comes more than once is one list."""
    found: dict[str, str] = {}
    for key, value in context.invocation_metadata() or ():
        if isinstance(value, str):
            found[key] = f"{found[key]},{value}" if key in found else value
    return found


def _told(
    call: Call, asked: MessagesRequest, answer: ChatAnswer, *, translated: bool
) -> tuple[tuple[str, str], ...]:
    ignored = asked.ignored if translated else ()
    return (
        (ANTHROPIC_REQUEST_ID_KEY, call.request_id),
        *answer_metadata(call, answer, ignored),
    )


def _ids(call: Call) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_KEY, call.request_id), (ANTHROPIC_REQUEST_ID_KEY, call.request_id))


def _failed(call: Call, error: AilbError) -> tuple[tuple[str, str], ...]:
    return (
        *_ids(call),
        (errors.HTTP_STATUS_KEY, str(anthropic_errors.http_status(error))),
        *errors.response_metadata(error),
    )


def _error(call: Call, error: AilbError) -> HttpBody:
    return HttpBody(content_type=_JSON, data=anthropic_errors.error_body(error, call.request_id))
