"""Anthropic, and every server that speaks its Messages API."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.providers import anthropic_wire_answer as wire
from ailb_server.providers.account import RequestTemplate
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.anthropic_relay import (
    RelayReader,
    relayed_body,
    relayed_completion,
    relayed_headers,
)
from ailb_server.providers.anthropic_wire_models import UNKNOWN, ModelFacts
from ailb_server.providers.anthropic_wire_request import MessagesRequest, messages_request
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.openai_wire import ErrorAnswerError
from ailb_server.providers.sse import EventCutter
from ailb_server.providers.stream_loop import chunks_of
from ailb_server.providers.upstream import Reply, Upstream
from ailb_server.providers.upstream_errors import status_error

_PATH = "/v1/messages"
_COUNT_PATH = "/v1/messages/count_tokens"
_OK = 200


class AnthropicProvider:
    """Chats over one account, translated to the Messages API and back; relayed if they came in it.

    What a model takes is known from the last listing. `clock` tells Unix seconds.
    """

    def __init__(
        self,
        name: str,
        account: AnthropicAccount,
        upstream: Upstream,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._account = account
        self._upstream = upstream
        self._clock = clock
        self._templates: dict[str, RequestTemplate] = {}
        self._facts: Mapping[str, ModelFacts] = {}

    @asynccontextmanager
    async def open(self, request: ChatRequest, model: str) -> AsyncIterator[ProviderAnswer]:
        """See `ChatProvider.open`. Raises InvalidRequestError for what cannot be translated."""
        sent = self._sent(request, model)
        async with self._post(_PATH, request, sent.body) as reply:
            stream = self._stream if request.stream else self._completion
            async with aclosing(stream(request, reply)) as chunks:
                yield ProviderAnswer(chunks, sent.ignored)

    async def count_tokens(self, request: ChatRequest, model: str) -> bytes:
        """See `TokenCounter.count_tokens`; the request is of Anthropic's format."""
        async with self._post(_COUNT_PATH, request, relayed_body(request, model)) as reply:
            body = await reply.read_all()
            try:
                wire.check_count(body)
            except ValueError as error:
                raise self._bad_answer(error) from error
            return body

    def has_room(self) -> bool:
        """See `PooledProvider.has_room`."""
        return self._upstream.has_room()

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`."""
        models = await self._account.models()
        if models is None:
            return None
        self._facts = models
        return tuple(models)

    async def close(self) -> None:
        """Closes all connections."""
        await self._upstream.close()
        await self._account.close()

    def _sent(self, request: ChatRequest, model: str) -> MessagesRequest:
        if request.wire == "anthropic":
            return MessagesRequest(relayed_body(request, model), ())
        return messages_request(request, model, self._facts.get(model, UNKNOWN))

    @asynccontextmanager
    async def _post(self, path: str, request: ChatRequest, body: bytes) -> AsyncIterator[Reply]:
        """The reply to a request, if it is a success. Raises UpstreamError."""
        template = self._templates.get(path)
        if template is None:
            template = self._templates[path] = self._account.template(path)
        headers = relayed_headers(template.headers, request)
        async with self._upstream.post(template.url, headers, body) as reply:
            if reply.status != _OK:
                told = await reply.read_all()
                too_long = wire.is_prompt_too_long(told)
                told = told if request.wire == "anthropic" else wire.openai_error(told)
                raise status_error(self.name, reply.status, reply.headers, told, too_long=too_long)
            yield reply

    async def _completion(
        self, request: ChatRequest, reply: Reply
    ) -> AsyncGenerator[ChatChunk, None]:
        body = await reply.read_all()
        read = relayed_completion if request.wire == "anthropic" else wire.completion
        try:
            yield read(body, int(self._clock()))
        except ValueError as error:
            raise self._bad_answer(error) from error

    def _stream(self, request: ChatRequest, reply: Reply) -> AsyncGenerator[ChatChunk, None]:
        def bad_answer(error: ValueError) -> UpstreamUnavailableError:
            told = self._bad_answer(error)
            # The caller gets it as it is.
            told.event = reply.quotable(told.event)
            return told

        return chunks_of(reply, EventCutter(), self._reader(request), bad_answer)

    def _reader(self, request: ChatRequest) -> StreamReader | RelayReader:
        created = int(self._clock())
        if request.wire == "anthropic":
            return RelayReader(created=created)
        return StreamReader(include_usage=request.include_usage, created=created)

    def _bad_answer(self, error: ValueError) -> UpstreamUnavailableError:
        if isinstance(error, ErrorAnswerError):
            told = UpstreamUnavailableError(
                f"The provider answered an error in a success ({error}).", provider=self.name
            )
            told.event = error.event
            return told
        return UpstreamUnavailableError("The provider's answer is malformed.", provider=self.name)
