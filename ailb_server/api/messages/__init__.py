"""The typed messages and OpenAI's shape, each from the other. Pure."""

from ailb_server.api.messages.answer import ChunkReader, completion_of
from ailb_server.api.messages.embedding import embedding_request, embeddings_response
from ailb_server.api.messages.request import chat_request

__all__ = [
    "ChunkReader",
    "chat_request",
    "completion_of",
    "embedding_request",
    "embeddings_response",
]
