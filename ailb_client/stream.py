"""A streamed answer."""

from types import TracebackType
from typing import Self

import grpc

from ailb_client._gen.ailb.v1 import ChatCompletionChunk, StreamChatCompletionResponse
from ailb_client.answer import Served, served
from ailb_client.errors import ailb_error


class ChatStream:
    """The pieces of an answer, as they come; the last tells usage. Raises AilbError.

    The call runs from the start. It is cancelled, and with it the provider's work, once the stream
    is left early: at the end of `async with`, by `aclose`, or, in CPython, as soon as nothing
    refers to the stream any more, so that `break` in `async for chunk in ailb.chat_stream(...)`
    is enough.
    """

    def __init__(self, call: grpc.aio.UnaryStreamCall[bytes, bytes], target: str) -> None:
        self._call = call
        self._target = target
        self._ended = False

    async def served(self) -> Served:
        """How AILB serves it. Waits until the answer begins; all None if it failed before."""
        return served(await self._call.initial_metadata())

    async def aclose(self) -> None:
        """Cancels the call if it still runs."""
        self._ended = True
        self._call.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatCompletionChunk:
        if self._ended:
            raise StopAsyncIteration
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            self._ended = True
            raise ailb_error(error, self._target) from error
        if not isinstance(response, bytes):
            self._ended = True
            raise StopAsyncIteration
        return StreamChatCompletionResponse.parse(response).chunk or ChatCompletionChunk()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._call.cancel()
