"""What the stages of an import hand on, and how they run beside each other."""

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from typing import TypeAlias

from ailb_server.domain.embedding import Vector
from ailb_server.domain.imports import ImportItem
from ailb_server.knowledge.extraction.cutting import CutDocument


@dataclass(slots=True)
class Cut:
    """A document in pieces, whose vectors come one by one."""

    item: ImportItem
    document: CutDocument
    vectors: list[Vector] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """It has all of its vectors."""
        return len(self.vectors) == len(self.document.pieces)


# From one stage to the next; bounded, and None is the end.
Line: TypeAlias = asyncio.Queue[Cut | None]


async def together(*stages: Coroutine[None, None, None]) -> None:
    """Until all have ended; the first failure cancels the others, is waited for, and raised."""
    try:
        async with asyncio.TaskGroup() as running:
            for stage in stages:
                running.create_task(stage)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from None
