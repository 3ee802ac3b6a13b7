"""OpenAI, and every server that speaks its wire format."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from types import TracebackType

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.providers import openai_wire
from ailb_server.providers.account import RequestTemplate
from ailb_server.providers.openai_account import OpenAIAccount
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

    def _open(
        self, path: str, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        return _Opening(self, path, request, model)

    def posted(
        self, path: str, request: ChatRequest, model: str
    ) -> tuple[AbstractAsyncContextManager[Reply], tuple[str, ...]]:
        """What to enter for the reply, and the parameters that it does without."""
        request.require_translatable()
        template = self._templates.get(path) or self._prepare(path)
        body, ignored = openai_wire.sent_body(request, model)
        return self._upstream.post(template.url, template.headers, body), ignored

    def chunks(self, request: ChatRequest, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        """Those of a reply that is a success."""
        return self._stream(request, reply) if request.stream else self._whole(request, reply)

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

    def _prepare(self, path: str) -> RequestTemplate:
        template = self._templates[path] = self._account.template(path)
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


class _Opening:
    """A request until its answer is left. A class, because it is around every request: a generator
    costs twice as much."""

    __slots__ = ("_asked", "_chunks", "_exchange", "_provider")

    def __init__(
        self, provider: OpenAIProvider, path: str, request: ChatRequest, model: str
    ) -> None:
        self._provider = provider
        self._asked = path, request, model

    async def __aenter__(self) -> ProviderAnswer:
        """Raises UpstreamError."""
        provider, request = self._provider, self._asked[1]
        self._exchange, ignored = provider.posted(*self._asked)
        reply = await self._exchange.__aenter__()
        if reply.status != _OK:
            async with AsyncExitStack() as stack:
                stack.push_async_exit(self._exchange)
                told = await reply.read_all()
            raise status_error(provider.name, reply.status, reply.headers, told)
        self._chunks = provider.chunks(request, reply)
        return ProviderAnswer(self._chunks, ignored)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._chunks.aclose()
        finally:
            await self._exchange.__aexit__(kind, error, trace)
