"""A streamed answer's messages, from their generator to the caller."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Any, Final, TypeAlias

from ailb_server.api.call import Writing

Write: TypeAlias = Callable[[Any], Awaitable[None]]


class _Nothing:
    """No message."""


NOTHING: Final = _Nothing()


async def flow(answer: AsyncGenerator[Any, Any], write: Write, writing: Writing) -> Any:
    """Gives `write` what `answer` yields, as it comes; but returns its last message if that was
    said to be the last, so that gRPC can send it at once with the call's status: one send less.
    NOTHING if all is written.

    A call that this server ends while it writes is ended behind the message: `answer` is cancelled,
    and what it has to say to that is written too.
    """
    held: Any = NOTHING
    try:
        async for message in answer:
            if held is not NOTHING:
                await write(held)
                held = NOTHING
            if writing.last:
                held = message
                continue
            writing.busy = True
            await write(message)
            writing.busy = False
            if writing.spared:
                break
        else:
            return held
    except Exception:
        # What went wrong behind it must not keep it from its caller.
        if held is not NOTHING:
            await write(held)
        raise
    with suppress(StopAsyncIteration):
        await write(await answer.athrow(asyncio.CancelledError()))
        async for message in answer:
            await write(message)
    return NOTHING
