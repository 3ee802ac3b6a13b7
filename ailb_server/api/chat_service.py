"""`ailb.v1.ChatService`: typed chats over the pipeline."""

from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import chat_service_pb2 as pb
from ailb.v1 import chat_service_pb2_grpc as pb_grpc
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.call import Refusals, current_call
from ailb_server.api.call_wishes import call_wishes
from ailb_server.api.messages import ChunkReader, chat_request, completion_of
from ailb_server.domain.chat import ChatChunk, JsonObject, TokenUsage
from ailb_server.pipeline.chat import Chats

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ChatService(pb_grpc.ChatServiceServicer):
    """The same chats as `OpenAIService`'s; errors are raised for the edge to render."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    @override
    async def CreateChatCompletion(
        self, request: pb.CreateChatCompletionRequest, context: Context
    ) -> pb.CreateChatCompletionResponse:
        """Raises AilbError."""
        with Refusals(current_call.get()):
            chat = chat_request(request.parameters, stream=False)
        async with self._chats.open(chat, call_wishes(context)) as answer:
            chunks = [chunk async for chunk in answer.chunks]
            metadata = answer_metadata(current_call.get(), answer)
        await context.send_initial_metadata(metadata)
        event, usage = [told for chunk in chunks for told in _told(chunk)][-1]
        return pb.CreateChatCompletionResponse(completion=completion_of(event, usage))

    @override
    async def StreamChatCompletion(
        self, request: pb.StreamChatCompletionRequest, context: Context
    ) -> AsyncIterator[pb.StreamChatCompletionResponse]:
        """Raises AilbError, an UpstreamError in the middle of the answer too."""
        with Refusals(current_call.get()):
            chat = chat_request(request.parameters, stream=True)
        reader = ChunkReader()
        async with self._chats.open(chat, call_wishes(context)) as answer:
            metadata = answer_metadata(current_call.get(), answer)
            await context.send_initial_metadata(metadata)
            async for chunk in answer.chunks:
                for event, usage in _told(chunk):
                    yield pb.StreamChatCompletionResponse(chunk=reader.read(event, usage))


def _told(chunk: ChatChunk) -> list[tuple[JsonObject, TokenUsage | None]]:
    """Each event of a chunk with the usage that it tells."""
    return [(event, chunk.usage if event.get("usage") else None) for event in chunk.events]
