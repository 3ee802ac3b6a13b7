"""`ailb.anthropic.v1.AnthropicService`: Anthropic's Messages format over the pipeline."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
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
from ailb_server.api.call_wishes import call_wishes
from ailb_server.api.edge import REQUEST_ID_KEY, Call, current_call, interruption
from ailb_server.domain.errors import AilbError
from ailb_server.pipeline.chat import ChatAnswer, ChatPipeline
from ailb_server.pipeline.counting import TokenCounting

# The header in which the official SDK looks for it.
ANTHROPIC_REQUEST_ID_KEY = "request-id"
_JSON = "application/json"
_SSE = "text/event-stream; charset=utf-8"

Context: TypeAlias = grpc.aio.ServicerContext[Any, HttpBody]


class AnthropicService(pb_grpc.AnthropicServiceServicer):
    """Relays messages to Anthropic providers byte for byte, and translates for all others."""

    def __init__(self, pipeline: ChatPipeline, counting: TokenCounting) -> None:
        self._pipeline = pipeline
        self._counting = counting

    @override
    async def CreateMessage(
        self, request: pb.CreateMessageRequest, context: Context
    ) -> AsyncIterator[HttpBody]:
        """A REST caller gets errors as Anthropic writes them, a gRPC caller as gRPC does."""
        call = current_call.get()
        begun, failure = False, None
        try:
            asked = parse_messages_request(request.body.data, _headers(context))
            content_type = _SSE if asked.chat.stream else _JSON
            with interruption(call):
                async with (
                    self._pipeline.open(asked.chat, call_wishes(context)) as answer,
                    aclosing(_written(asked, answer)) as pieces,
                ):
                    async for translated, wire in pieces:
                        if not begun:
                            begun = True
                            metadata = _answered(call, asked, answer, translated=translated)
                            await context.send_initial_metadata(metadata)
                        yield HttpBody(content_type=content_type, data=wire)
        except Exception as error:
            if not call.rest:
                raise
            failure = errors.as_ailb_error(error, call.request_id)
        if failure is None:
            return
        if begun:
            event = anthropic_errors.error_event(failure, call.request_id)
            yield HttpBody(content_type=_SSE, data=event)
        else:
            yield await _refusal(call, failure, context)

    @override
    async def CountTokens(self, request: pb.CountTokensRequest, context: Context) -> HttpBody:
        """The count of an Anthropic provider, byte for byte; errors as of `CreateMessage`."""
        call = current_call.get()
        try:
            asked = parse_messages_request(request.body.data, _headers(context))
            with interruption(call):
                counted = await self._counting.count(asked.chat, call.principal)
        except Exception as error:
            if not call.rest:
                raise
            return await _refusal(call, errors.as_ailb_error(error, call.request_id), context)
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


def _answered(
    call: Call, asked: MessagesRequest, answer: ChatAnswer, *, translated: bool
) -> tuple[tuple[str, str], ...]:
    ignored = asked.ignored if translated else ()
    return (
        (ANTHROPIC_REQUEST_ID_KEY, call.request_id),
        *answer_metadata(call, answer, ignored),
    )


def _ids(call: Call) -> tuple[tuple[str, str], ...]:
    return ((REQUEST_ID_KEY, call.request_id), (ANTHROPIC_REQUEST_ID_KEY, call.request_id))


async def _refusal(call: Call, error: AilbError, context: Context) -> HttpBody:
    """The answer's status and headers are sent; the body is returned."""
    await context.send_initial_metadata(
        (
            *_ids(call),
            (errors.HTTP_STATUS_KEY, str(anthropic_errors.http_status(error))),
            *errors.response_metadata(error),
        )
    )
    return HttpBody(content_type=_JSON, data=anthropic_errors.error_body(error, call.request_id))
