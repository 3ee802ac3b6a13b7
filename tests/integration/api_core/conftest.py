"""A gRPC server with the chat services over one fake provider, and a channel to it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

import grpc
import pytest
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status

from ailb.openai.v1 import openai_service_pb2_grpc
from ailb.v1 import chat_pb2, chat_service_pb2, chat_service_pb2_grpc
from ailb_server.api.chat_service import ChatService
from ailb_server.api.edge import Edge
from ailb_server.api.openai_service import OpenAIService
from ailb_server.server import GrpcServer
from tests.unit.doubles import FakeProvider, Observer
from tests.unit.pipeline.chats import pipeline_over

MAX_CALLS = 2


@dataclass
class Served:
    """What a test sets and sees: the provider behind, the channel before, the records between."""

    channel: grpc.aio.Channel
    provider: FakeProvider
    observer: Observer = field(default_factory=Observer)

    @property
    def chat(self) -> "chat_service_pb2_grpc.ChatServiceAsyncStub":
        """The typed face."""
        return chat_service_pb2_grpc.ChatServiceStub(self.channel)

    @property
    def openai(self) -> "openai_service_pb2_grpc.OpenAIServiceAsyncStub":
        """OpenAI's face."""
        return openai_service_pb2_grpc.OpenAIServiceStub(self.channel)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A running server that takes MAX_CALLS calls at once."""
    provider, observer = FakeProvider(), Observer()
    pipeline = pipeline_over(observer, provider)
    services = (
        partial(chat_service_pb2_grpc.add_ChatServiceServicer_to_server, ChatService(pipeline)),
        partial(
            openai_service_pb2_grpc.add_OpenAIServiceServicer_to_server, OpenAIService(pipeline)
        ),
    )
    server = GrpcServer(Edge(MAX_CALLS), services, max_calls=MAX_CALLS)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield Served(channel, provider, observer)
    await server.stop()


def parameters(model: str = "m") -> chat_pb2.ChatCompletionParameters:
    """A small conversation."""
    text = chat_pb2.ContentPart(text="hi")
    return chat_pb2.ChatCompletionParameters(
        model=model, messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[text])]
    )


def create_request(model: str = "m") -> chat_service_pb2.CreateChatCompletionRequest:
    """A small unary request."""
    return chat_service_pb2.CreateChatCompletionRequest(parameters=parameters(model))


def stream_request(model: str = "m") -> chat_service_pb2.StreamChatCompletionRequest:
    """A small streaming request."""
    return chat_service_pb2.StreamChatCompletionRequest(parameters=parameters(model))


def error_info(error: grpc.aio.AioRpcError) -> ErrorInfo:
    """The ErrorInfo that every error carries."""
    trailing = dict(error.trailing_metadata() or ())
    details = trailing["grpc-status-details-bin"]
    assert isinstance(details, bytes)
    status, info = Status.FromString(details), ErrorInfo()
    assert status.code == error.code().value[0]
    assert status.details[0].Unpack(info)
    return info
