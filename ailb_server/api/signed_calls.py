"""What of a call a signature covers: what caller and server both see.

A gRPC caller signs its message's bytes. Of a REST call the server sees the caller's bytes only
where Envoy hands them on inside an HttpBody; of the others it sees what the transcoder made of
them, so those cannot be signed.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import grpc
from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import DecodeError

from ailb.anthropic.v1 import anthropic_service_pb2 as anthropic_pb
from ailb.openai.v1 import openai_service_pb2 as openai_pb
from ailb_server.access.signatures import Signed
from ailb_server.domain.errors import InvalidApiKeyError

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
_Body: TypeAlias = Callable[[bytes], HttpBody]

_PATH_KEY = "x-envoy-original-path"
_METHOD_KEY = "x-envoy-original-method"

# The path that a caller signs must be that of the method that runs: on the gRPC port anybody can
# say that a call came from a path.
PATHS: Mapping[str, tuple[str, _Body]] = MappingProxyType(
    {
        "/ailb.openai.v1.OpenAIService/CreateChatCompletion": (
            "/v1/chat/completions",
            lambda data: openai_pb.CreateChatCompletionRequest.FromString(data).body,
        ),
        "/ailb.openai.v1.OpenAIService/CreateCompletion": (
            "/v1/completions",
            lambda data: openai_pb.CreateCompletionRequest.FromString(data).body,
        ),
        "/ailb.openai.v1.OpenAIService/CreateEmbedding": (
            "/v1/embeddings",
            lambda data: openai_pb.CreateEmbeddingRequest.FromString(data).body,
        ),
        "/ailb.anthropic.v1.AnthropicService/CreateMessage": (
            "/v1/messages",
            lambda data: anthropic_pb.CreateMessageRequest.FromString(data).body,
        ),
        "/ailb.anthropic.v1.AnthropicService/CountTokens": (
            "/v1/messages/count_tokens",
            lambda data: anthropic_pb.CountTokensRequest.FromString(data).body,
        ),
    }
)
REST_PATHS = tuple(path for path, _ in PATHS.values())


def signed_call(context: Context, method: str, request: object, *, rest: bool) -> Signed:
    """`request`: the message's bytes, as they came. Raises InvalidApiKeyError for a call that
    cannot be signed."""
    if not isinstance(request, bytes):
        raise _unsignable("A call whose request is a stream cannot be signed.")
    if not rest:
        return Signed(method, request)
    metadata = {key: str(value) for key, value in context.invocation_metadata() or ()}
    path, body_of = PATHS.get(method, ("", None))
    target = metadata.get(_PATH_KEY, "")
    if body_of is None or target.partition("?")[0] != path:
        raise _unsignable(
            f"By REST only {', '.join(REST_PATHS)} can be signed: call the others by gRPC."
        )
    try:
        body = body_of(request).data
    except DecodeError:
        raise _unsignable("The request is not the method's message.") from None
    return Signed(f"{metadata.get(_METHOD_KEY, '')} {target}", body)


def _unsignable(why: str) -> InvalidApiKeyError:
    return InvalidApiKeyError(why, problem="signature")
