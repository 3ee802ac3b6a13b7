"""OpenAI, and every server that speaks its wire format."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.providers import openai_wire
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.sdk_request import RequestTemplate
from ailb_server.providers.sse import EventCutter
from ailb_server.providers.stream_loop import chunks_of
from ailb_server.providers.upstream import Reply, Upstream
from ailb_server.providers.upstream_errors import status_error

_CHATS = "/chat/completions"
_COMPLETIONS = "/completions"
_EMBEDDINGS = "/embeddings"
_OK = 200


class OpenAIProvider:
    """One account; request and answer bytes pass through unchanged where they can."""

    def __init__(self, name: str, account: OpenAIAccount, upstream: Upstream) -> None:
        self.name = name
        self._account = account
        self._upstream = upstream
        self._templates: dict[str, RequestTemplate] = {}

    def open(self, request: ChatRequest, model: str) -> AbstractAsyncContextManager[ProviderAnswer]:
        """See `ChatProvider.open`."""
        return self._open(_CHATS, request, model)

    def open_completion(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        """See `CompletionProvider.open_completion`: the streams are cut and metered as chats'."""
        return self._open(_COMPLETIONS, request, model)

    def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        """See `EmbeddingProvider.open_embedding`."""
        return self._open(_EMBEDDINGS, request, model)

    @asynccontextmanager
    async def _open(
        self, path: str, request: ChatRequest, model: str
    ) -> AsyncIterator[ProviderAnswer]:
        request.require_translatable()
        template = self._templates.get(path) or await self._prepare(path)
        body, ignored = openai_wire.sent_body(request, model)
        async with self._upstream.post(template.url, template.headers, body) as reply:
            if reply.status != _OK:
                raise status_error(self.name, reply.status, reply.headers, await reply.read_all())
            answer = self._stream(request, reply) if request.stream else self._whole(request, reply)
            async with aclosing(answer) as chunks:
                yield ProviderAnswer(chunks, ignored)

    def has_room(self) -> bool:
        """See `PooledProvider.has_room`."""
        return self._upstream.has_room()

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`."""
        return await self._account.list_models()

    async def close(self) -> None:
        """Closes all connections."""
        await self._upstream.close()
        await self._account.close()

    async def _prepare(self, path: str) -> RequestTemplate:
        template = self._templates[path] = await self._account.template(path)
        return template

    async def _whole(self, request: ChatRequest, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        body = await reply.read_all()
        try:
            yield openai_wire.whole_answer(body, request)
        except ValueError as error:
            raise self._bad_answer(error) from error

    def _stream(self, request: ChatRequest, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        reader = openai_wire.StreamReader(
            include_usage=request.include_usage, translated=request.wire != "openai"
        )
        return chunks_of(reply, EventCutter(), reader, self._bad_answer)

    def _bad_answer(self, error: ValueError) -> UpstreamUnavailableError:
        if isinstance(error, openai_wire.ErrorAnswerError):
            return UpstreamUnavailableError(
                f"The provider answered an error in a success ({error}).", provider=self.name
            )
        return UpstreamUnavailableError("The provider's answer is malformed.", provider=self.name)
