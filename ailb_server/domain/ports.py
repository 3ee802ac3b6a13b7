"""The seams that more than one package calls through."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, runtime_checkable

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.value_object import value_object


@value_object
class ProviderAnswer:
    """An answer to come. `ignored` names the request's parameters that this provider cannot heed.

    Only tuning may be ignored (`temperature`, `seed`, …); content is refused instead.
    """

    chunks: AsyncIterator[ChatChunk]
    ignored: tuple[str, ...] = ()


class ChatProvider(Protocol):
    """An upstream that answers chats and tells its models; errors are `UpstreamError`s."""

    @property
    def name(self) -> str:
        """The name that routing, metrics and headers use."""
        ...

    def open(self, request: ChatRequest, model: str) -> AbstractAsyncContextManager[ProviderAnswer]:
        """Sends the request for `model`; leaving the context cancels what still runs upstream."""
        ...

    async def list_models(self) -> Sequence[str] | None:
        """The models it serves now, or None if it has no listing. Costs no provider money."""
        ...


@runtime_checkable
class PooledProvider(Protocol):
    """A `ChatProvider` whose connections are bounded: beyond the bound, requests wait for one."""

    def has_room(self) -> bool:
        """Whether a request sent now would get a connection without waiting."""
        ...


@runtime_checkable
class CompletionProvider(Protocol):
    """A `ChatProvider` that has OpenAI's older completions too."""

    def open_completion(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        """As `ChatProvider.open`; the events are OpenAI's `text_completion` objects."""
        ...


@runtime_checkable
class EmbeddingProvider(Protocol):
    """A `ChatProvider` that has embeddings too."""

    def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        """As `ChatProvider.open`; there is one chunk, whose one event is OpenAI's list of
        embeddings: `data` holds `embedding`s as the request's `encoding_format` says, a list of
        numbers, or little-endian float32 in base64."""
        ...


class TokenCounter(Protocol):
    """An upstream that counts the tokens of a request in its own format."""

    async def count_tokens(self, request: ChatRequest, model: str) -> bytes:
        """The upstream's answer, byte for byte. Raises UpstreamError."""
        ...
