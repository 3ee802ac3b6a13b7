"""A streamed answer, from network reads to chunks: the same loop for every format."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol, TypeVar

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import UpstreamError, UpstreamUnavailableError
from ailb_server.providers.upstream import Reply

Block = TypeVar("Block")
Block_co = TypeVar("Block_co", covariant=True)
Block_contra = TypeVar("Block_contra", contravariant=True)


class Cutter(Protocol[Block_co]):
    """Whole events or lines from reads that end anywhere."""

    def feed(self, read: bytes) -> Block_co:
        """What `read` completes. Raises ValueError if it is too large."""
        ...

    def finish(self) -> Block_co:
        """What is left at the stream's end."""
        ...


class Reader(Protocol[Block_contra]):
    """A format's state machine."""

    @property
    def done(self) -> bool:
        """Whether the format's own end has come."""
        ...

    @property
    def begun(self) -> bool:
        """Whether a valid event has come, so that there is an answer."""
        ...

    @property
    def alive(self) -> bool:
        """Whether the last block was a sign of life: then the pause between tokens begins anew."""
        ...

    @property
    def fault(self) -> ValueError | None:
        """What is bad of the last block, after what it told."""
        ...

    def read(self, block: Block_contra) -> ChatChunk:
        """Raises ValueError if nothing of the block can be told."""
        ...


async def chunks_of(
    reply: Reply,
    cutter: Cutter[Block],
    reader: Reader[Block],
    bad_answer: Callable[[ValueError], UpstreamError],
) -> AsyncGenerator[ChatChunk, None]:
    """The chunks as they come. Raises UpstreamError; of a bad block `bad_answer` makes it."""
    while not reader.done:
        read = await reply.read()
        try:
            block = cutter.feed(read) if read else cutter.finish()
            chunk = reader.read(block) if block else None
        except ValueError as error:
            raise bad_answer(error) from error
        if chunk and reader.alive:
            reply.token_seen()
        # Comments before the first event are not an answer yet. Usage that the caller does not
        # see has no wire, and is metered all the same.
        if chunk and reader.begun and (chunk.wire or chunk.usage):
            yield chunk
        if reader.fault:
            raise bad_answer(reader.fault)
        if (not read and not reader.done) or (reader.done and not reader.begun):
            raise UpstreamUnavailableError(
                "The provider ended the stream before its end.", provider=reply.provider
            )
    reply.told()
