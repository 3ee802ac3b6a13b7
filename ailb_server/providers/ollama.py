"""Ollama by its native API: its OpenAI-compatible side cannot be told the context's length."""

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field

from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamTimeoutError, UpstreamUnavailableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.providers import ollama_answer_wire as answer_wire
from ailb_server.providers import ollama_embedding_wire as embedding_wire
from ailb_server.providers import ollama_wire
from ailb_server.providers.ndjson import LineCutter
from ailb_server.providers.ollama_line_wire import Mint
from ailb_server.providers.ollama_request_wire import UpstreamRequest, upstream_request
from ailb_server.providers.openai_wire import ErrorAnswerError
from ailb_server.providers.stream_loop import chunks_of
from ailb_server.providers.upstream import Reply, Upstream
from ailb_server.providers.upstream_errors import status_error

_OK = 200
_LISTING_TIMEOUT_S = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OllamaServer:
    """Where it is (without `/api`), what a proxy before it wants, and the context in tokens."""

    base_url: str
    num_ctx: int
    api_key: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


class OllamaProvider:
    """Chats and embeds at one Ollama server."""

    def __init__(
        self, name: str, server: OllamaServer, upstream: Upstream, mint: Mint | None = None
    ) -> None:
        self.name = name
        base = server.base_url.rstrip("/")
        self._chat_url = URL(f"{base}/api/chat", encoded=True)
        self._embed_url = URL(f"{base}/api/embed", encoded=True)
        self._tags_url = URL(f"{base}/api/tags", encoded=True)
        self._headers = _headers(server)
        self._num_ctx = server.num_ctx
        self._upstream = upstream
        self._mint = mint or Mint()

    @asynccontextmanager
    async def open(self, request: ChatRequest, model: str) -> AsyncIterator[ProviderAnswer]:
        """See `ChatProvider.open`. Raises InvalidRequestError for what Ollama cannot do."""
        request.require_translatable()
        sent = upstream_request(request, model, self._num_ctx)
        self._warn_of_overflow(sent, model)
        async with self._upstream.post(self._chat_url, self._headers, sent.body) as reply:
            await self._check_status(reply)
            answer = (
                self._stream(request, model, reply)
                if request.stream
                else self._completion(model, reply)
            )
            async with aclosing(answer) as chunks:
                yield ProviderAnswer(chunks, sent.ignored)

    @asynccontextmanager
    async def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AsyncIterator[ProviderAnswer]:
        """See `EmbeddingProvider.open_embedding`. Raises InvalidRequestError as `open`, so for
        inputs that are tokens."""
        request.require_translatable()
        sent = embedding_wire.embed_request(request, model)
        async with self._upstream.post(self._embed_url, self._headers, sent.body) as reply:
            await self._check_status(reply)
            async with aclosing(self._embeddings(sent, reply)) as chunks:
                yield ProviderAnswer(chunks, sent.ignored)

    def has_room(self) -> bool:
        """See `PooledProvider.has_room`."""
        return self._upstream.has_room()

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`: what `/api/tags` has."""
        try:
            async with (
                asyncio.timeout(_LISTING_TIMEOUT_S),
                self._upstream.get(self._tags_url, self._headers) as reply,
            ):
                await self._check_status(reply)
                return ollama_wire.model_names(await reply.read_all())
        except TimeoutError as error:
            raise UpstreamTimeoutError(
                "The provider did not list its models in time.", provider=self.name
            ) from error
        except ValueError as error:
            raise UpstreamUnavailableError(
                "The provider's model listing is malformed.", provider=self.name
            ) from error

    async def close(self) -> None:
        """Closes all connections."""
        await self._upstream.close()

    def _warn_of_overflow(self, sent: UpstreamRequest, model: str) -> None:
        if sent.overflows:
            _log.warning(
                "a prompt of about %d tokens exceeds num_ctx %d of %s at provider %s,"
                " which will cut it silently",
                sent.prompt_tokens,
                sent.num_ctx,
                model,
                self.name,
            )

    async def _check_status(self, reply: Reply) -> None:
        if reply.status == _OK:
            return
        headers = CIMultiDict(reply.headers)
        headers["content-type"] = "application/json"
        body = ollama_wire.error_body(reply.status, await reply.read_all())
        raise status_error(self.name, reply.status, headers, body)

    async def _completion(self, model: str, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        body = await reply.read_all()
        try:
            yield answer_wire.completion(body, model, self._mint)
        except ValueError as error:
            raise self._bad_answer(error) from error

    async def _embeddings(
        self, sent: embedding_wire.EmbedRequest, reply: Reply
    ) -> AsyncGenerator[ChatChunk, None]:
        body = await reply.read_all()
        try:
            yield embedding_wire.embeddings(body, sent)
        except ValueError as error:
            raise self._bad_answer(error) from error

    def _stream(
        self, request: ChatRequest, model: str, reply: Reply
    ) -> AsyncGenerator[ChatChunk, None]:
        reader = answer_wire.StreamReader(
            model, include_usage=request.include_usage, mint=self._mint
        )
        return chunks_of(reply, LineCutter(), reader, self._bad_answer)

    def _bad_answer(self, error: ValueError) -> UpstreamUnavailableError:
        if isinstance(error, ErrorAnswerError):
            return UpstreamUnavailableError(
                "The provider answered an error in a success.", provider=self.name
            )
        return UpstreamUnavailableError("The provider's answer is malformed.", provider=self.name)


def _headers(server: OllamaServer) -> CIMultiDict[str]:
    headers = CIMultiDict({"content-type": "application/json", "accept-encoding": "identity"})
    if server.api_key:
        headers["authorization"] = f"Bearer {server.api_key}"
    headers.update(server.headers)
    return headers
