"""Which of a provider's methods does what a request asks."""

from contextlib import AbstractAsyncContextManager

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.ports import (
    ChatProvider,
    CompletionProvider,
    EmbeddingProvider,
    ProviderAnswer,
)


def opened(
    provider: ChatProvider, request: ChatRequest, model: str
) -> AbstractAsyncContextManager[ProviderAnswer]:
    """Opens the request's operation. Raises InvalidRequestError if the provider lacks it."""
    operation = request.operation
    if operation is Operation.CHAT:
        return provider.open(request, model)
    if operation is Operation.COMPLETION and isinstance(provider, CompletionProvider):
        return provider.open_completion(request, model)
    if operation is Operation.EMBEDDING and isinstance(provider, EmbeddingProvider):
        return provider.open_embedding(request, model)
    raise InvalidRequestError(
        f"The model `{request.model}` has no {operation.value}s: its provider does not serve them.",
        model=request.model,
        param="model",
    )
