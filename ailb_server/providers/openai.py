"""OpenAI, and every server that speaks its wire format."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.providers import openai_wire
from ailb_server.providers.openai_account import OpenAIAccount, RequestTemplate
from ailb_server.providers.sse import EventCutter, EventTooLargeError
from ailb_server.providers.upstream import Reply, Upstream
from ailb_server.providers.upstream_errors import status_error

_PATH = "/chat/completions"
_OK = 200


class OpenAIProvider:
    """Chats over one account; request and answer bytes pass through unchanged where they can."""

    def __init__(self, name: str, account: OpenAIAccount, upstream: Upstream) -> None:
        self.name = name
        self._account = account
        self._upstream = upstream
        self._template: RequestTemplate | None = None

    @asynccontextmanager
    async def open(self, request: ChatRequest, model: str) -> AsyncIterator[ProviderAnswer]:
        """See `ChatProvider.open`."""
        request.require_translatable()
        template = self._template or await self._prepare()
        body, ignored = openai_wire.sent_body(request, model)
        async with self._upstream.post(template.url, template.headers, body) as reply:
            if reply.status != _OK:
                raise status_error(self.name, reply.status, reply.headers, await reply.read_all())
            answer = self._stream(request, reply) if request.stream else self._completion(reply)
            async with aclosing(answer) as chunks:
                yield ProviderAnswer(chunks, ignored)

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`."""
        return await self._account.list_models()

    async def close(self) -> None:
        """Closes all connections."""
        await self._upstream.close()
        await self._account.close()

    async def _prepare(self) -> RequestTemplate:
        self._template = await self._account.template(_PATH)
        return self._template

    async def _completion(self, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        body = await reply.read_all()
        try:
            yield openai_wire.completion(body)
        except ValueError as error:
            raise self._bad_answer(error) from error

    async def _stream(self, request: ChatRequest, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        cutter = EventCutter()
        reader = openai_wire.StreamReader(include_usage=request.include_usage)
        begun = False
        while not reader.done:
            read = await reply.read()
            try:
                block = cutter.feed(read) if read else cutter.finish()
                chunk = reader.read(block) if block else None
            except (ValueError, EventTooLargeError) as error:
                raise self._bad_answer(error) from error
            if chunk and chunk.events:
                reply.token_seen()
                begun = True
            # Comments before the first event are not an answer yet. Usage that the caller does not
            # see has no wire, and is metered all the same.
            if chunk and begun and (chunk.wire or chunk.usage):
                yield chunk
            if (not read and not reader.done) or (reader.done and not begun):
                raise UpstreamUnavailableError(
                    "The provider ended the stream before its end.", provider=self.name
                )
        await reply.drain()

    def _bad_answer(self, error: ValueError) -> UpstreamUnavailableError:
        if isinstance(error, openai_wire.ErrorAnswerError):
            return UpstreamUnavailableError(
                f"The provider answered an error in a success ({error}).", provider=self.name
            )
        return UpstreamUnavailableError("The provider's answer is malformed.", provider=self.name)
