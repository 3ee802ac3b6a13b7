"""The stage of an import that gives documents their vectors."""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TypeAlias

from ailb_server.domain.embedding import Embedder, Vector
from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.import_stages import Cut, Line, together

_Calls: TypeAlias = asyncio.Queue[tuple[asyncio.Task[list[Vector]], Sequence[Cut]] | None]


class EmbeddingStage:
    """Takes documents from `cut` and hands them to `whole` in order, as soon as they have all of
    their vectors. Texts of several go into one batch, and `calls_at_once` batches are asked for,
    so that the embedder has the next one when it has done one."""

    def __init__(self, embedder: Embedder, cut: Line, whole: Line, rules: WorkRules) -> None:
        self._embedder = embedder
        self._cut = cut
        self._whole = whole
        self._rules = rules
        self._pieces: deque[tuple[Cut, str]] = deque()
        self._ended = False

    async def run(self) -> None:
        """Raises EmbedderUnavailableError."""
        # Bounded by the places.
        calls: _Calls = asyncio.Queue()
        places = asyncio.Semaphore(self._rules.calls_at_once)
        try:
            await together(self._ask(calls, places), self._collect(calls, places))
        finally:
            await _given_up(calls)

    async def _ask(self, calls: _Calls, places: asyncio.Semaphore) -> None:
        while True:
            # Before the batch is made: it has all that is there when its turn comes.
            await places.acquire()
            batch = await self._batch()
            if not batch:
                break
            texts, cuts = [text for _, text in batch], [cut for cut, _ in batch]
            calls.put_nowait((asyncio.create_task(self._embedder.embed(texts)), cuts))
        calls.put_nowait(None)

    async def _batch(self) -> Sequence[tuple[Cut, str]]:
        """What is there by now, at least one text; none at the end."""
        size = self._rules.batch_texts
        while not self._ended and len(self._pieces) < size:
            if self._pieces and self._cut.empty():
                break
            self._take(await self._cut.get())
        return [self._pieces.popleft() for _ in range(min(size, len(self._pieces)))]

    def _take(self, cut: Cut | None) -> None:
        if cut is None:
            self._ended = True
        else:
            self._pieces.extend((cut, piece.text) for piece in cut.document.pieces)

    async def _collect(self, calls: _Calls, places: asyncio.Semaphore) -> None:
        while (asked := await calls.get()) is not None:
            call, cuts = asked
            vectors = await call
            places.release()
            for cut, vector in zip(cuts, vectors, strict=True):
                cut.vectors.append(vector)
                if cut.is_whole:
                    await self._whole.put(cut)
        await self._whole.put(None)


async def _given_up(calls: _Calls) -> None:
    """Ends the calls whose vectors nobody will take."""
    left = []
    while not calls.empty():
        if (asked := calls.get_nowait()) is not None:
            left.append(asked[0])
    for call in left:
        call.cancel()
    await asyncio.gather(*left, return_exceptions=True)


async def pass_on(cut: Line, whole: Line) -> None:
    """The stage where there is no embedder: documents are found by their words."""
    while (found := await cut.get()) is not None:
        await whole.put(found)
    await whole.put(None)
