"""`ailb.v1.EmbeddingService`: typed embeddings over the pipeline."""

from typing import Any, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import embedding_service_pb2 as pb
from ailb.v1 import embedding_service_pb2_grpc as pb_grpc
from ailb_server.api.answer_metadata import answer_metadata
from ailb_server.api.call import Refusals, current_call
from ailb_server.api.call_wishes import call_wishes
from ailb_server.api.messages import embedding_request, embeddings_response
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.pipeline.chat import Chats

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class EmbeddingService(pb_grpc.EmbeddingServiceServicer):
    """The same embeddings as `OpenAIService`'s; errors are raised for the edge to render."""

    def __init__(self, chats: Chats) -> None:
        self._chats = chats

    @override
    async def CreateEmbeddings(
        self, request: pb.CreateEmbeddingsRequest, context: Context
    ) -> pb.CreateEmbeddingsResponse:
        """Raises AilbError."""
        with Refusals(current_call.get()):
            asked = embedding_request(request.parameters)
        inputs = len(asked.fields["input"])
        async with self._chats.open(asked, call_wishes(context)) as answer:
            events = [event async for chunk in answer.chunks for event in chunk.events]
            metadata = answer_metadata(current_call.get(), answer)
            try:
                response = embeddings_response(events[0], inputs)
            except ValueError as error:
                raise UpstreamUnavailableError(
                    "The provider's answer is malformed.", provider=answer.target.provider
                ) from error
        await context.send_initial_metadata(metadata)
        return response
