"""Which of a provider's methods does what a request asks."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import UntranslatableError
from ailb_server.domain.ports import (
    ChatProvider,
    CompletionProvider,
    EmbeddingProvider,
    ProviderAnswer,
)

_PORTS: Mapping[Operation, type] = MappingProxyType(
    {Operation.COMPLETION: CompletionProvider, Operation.EMBEDDING: EmbeddingProvider}
)


def operations_of(provider: ChatProvider) -> frozenset[Operation]:
    """Those that the provider has; chats are every provider's."""
    has = {operation for operation, port in _PORTS.items() if isinstance(provider, port)}
    return frozenset({Operation.CHAT, *has})


def opened(
    provider: ChatProvider, request: ChatRequest, model: str
) -> AbstractAsyncContextManager[ProviderAnswer]:
    """Opens the request's operation. Raises UntranslatableError if the provider lacks it."""
    operation = request.operation
    if operation is Operation.CHAT:
        return provider.open(request, model)
    if operation is Operation.COMPLETION and isinstance(provider, CompletionProvider):
        return provider.open_completion(request, model)
    if operation is Operation.EMBEDDING and isinstance(provider, EmbeddingProvider):
        return provider.open_embedding(request, model)
    raise UntranslatableError(
        f"The model `{request.model}` has no {operation.value}s: its provider does not serve them.",
        model=request.model,
        param="model",
    )
