"""The typed chat messages and OpenAI's shape, each from the other. Pure."""

from ailb_server.api.messages.answer import ChunkReader, completion_of
from ailb_server.api.messages.request import chat_request

__all__ = ["ChunkReader", "chat_request", "completion_of"]
