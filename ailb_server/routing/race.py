"""Hedging: a second attempt when the first one's answer is late; the faster wins."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import UpstreamError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.routing.attempt import Attempt, NotAdmittedError
from ailb_server.routing.use import Use


@dataclass(slots=True)
class Opened:
    """An attempt whose first chunk is there. Its holder leaves `use`, which ends the attempt."""

    attempt: Attempt
    first: ChatChunk
    answer: ProviderAnswer
    use: Use


Opening: TypeAlias = Coroutine[Any, Any, Opened]


async def first_answer(
    opening: Opening,
    hedge: Callable[[], Opening | None],
    after_s: float,
    decided: Callable[[bool], None],
) -> Opened:
    """The first of one or, once `after_s` seconds have passed, two attempts to answer.

    `hedge` gives the second one, or None if there is none to be had. `decided` is told, before the
    loser is cancelled, whether the second one was the first to answer. The loser has ended when
    this returns. Raises the last error if none answers, and at once one that no other
    target would mend.
    """
    tasks = [asyncio.create_task(opening)]
    try:
        await asyncio.wait(tasks, timeout=after_s)
        if not tasks[0].done() and (second := hedge()) is not None:
            tasks.append(asyncio.create_task(second))
        winner = await _winner(tasks)
        decided(winner is not tasks[0])
        await _end([task for task in tasks if task is not winner])
    except BaseException:
        await _end(tasks)
        raise
    return winner.result()


async def _winner(tasks: Sequence[asyncio.Task[Opened]]) -> asyncio.Task[Opened]:
    pending = set(tasks)
    while True:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            error = task.exception()
            if error is None:
                return task
            if not (pending and _mendable(error)):
                raise error


def _mendable(error: BaseException) -> bool:
    return isinstance(error, NotAdmittedError) or (
        isinstance(error, UpstreamError) and error.failover
    )


async def _end(tasks: Sequence[asyncio.Task[Opened]]) -> None:
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        # Two may have answered in the same turn of the loop.
        if isinstance(ended, Opened):
            ended.attempt.lost(ended.first)
            await ended.use.leave()
