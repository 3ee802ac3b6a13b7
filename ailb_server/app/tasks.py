"""The end of what runs in the background."""

import asyncio
from contextlib import suppress


async def ended(task: asyncio.Task[None]) -> None:
    """Cancels the task and waits for its end; a failure of its own is raised."""
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
