"""Embeds turns after they were stored, off every request's way."""

import asyncio
import logging
from collections.abc import Sequence

import numpy as np

from ailb_server.domain.embedding import Embedder, EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError, StorageUnavailableError
from ailb_server.domain.memory_queries import Mismatch
from ailb_server.memory.stores import Claim, EmbeddingStore
from ailb_server.memory.telling import MemoryObserver

# A claim holds a connection and its rows while they are embedded: so few, and for so long at most.
BATCH = 16
EMBED_TIMEOUT_S = 30.0
# A halfvec is kept inline, so it has to fit on a page of 8 KiB with the rest of its row.
MAX_DIMENSION = 3800
# Beyond it half precision knows infinity only.
_MAX_HALF = 65_504.0
_GATHER_S = 0.05

_log = logging.getLogger(__name__)


class TurnEmbedding:
    """One task an instance; any number of instances may run beside each other.

    `wake` says that there are new turns; without it they are looked for every `poll_s`, which
    finds what others left and retries what failed.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        embedder: Embedder,
        observer: MemoryObserver,
        poll_s: float = 15.0,
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._observer = observer
        self._poll_s = poll_s
        self._woken = asyncio.Event()
        self._problem = ""

    def wake(self) -> None:
        """There are new turns."""
        self._woken.set()

    def problem(self) -> str:
        """Why similarity is off, for people; empty if it is not, or never was to be on."""
        return self._problem

    async def run(self) -> None:
        """Embeds what there is, then waits; never returns."""
        while True:
            # What is said within a moment is one batch.
            await asyncio.sleep(_GATHER_S)
            self._woken.clear()
            try:
                await self.catch_up()
            except (StorageUnavailableError, EmbedderUnavailableError, TimeoutError):
                # Each tells of itself elsewhere; the turns stay as they are, to be found again.
                self._woken.clear()
            except Exception as error:  # noqa: BLE001 - this task must not end for good
                _log.error("memory: turns cannot be embedded: %s", type(error).__qualname__)
                self._woken.clear()
            try:
                async with asyncio.timeout(self._poll_s):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def catch_up(self) -> int:
        """Embeds all that waits; how many that were.

        Raises StorageUnavailableError, EmbedderUnavailableError and TimeoutError.
        """
        space = self._embedder.space
        if space is None or not self._fits(space):
            return 0
        self._say(await self._store.mismatch(space), space)
        total = 0
        while True:
            async with self._store.claim(space, BATCH) as claim:
                if not claim.turns:
                    return total
                written = await embed_claim(claim, self._embedder)
            self._observer.embedded(written)
            total += written

    def _fits(self, space: EmbeddingSpace) -> bool:
        if space.dimension <= MAX_DIMENSION:
            return True
        self._say_once(
            f"vectors of {space.model} have {space.dimension} dimensions, memory stores at most"
            f" {MAX_DIMENSION}"
        )
        return False

    def _say(self, mismatch: Mismatch | None, space: EmbeddingSpace) -> None:
        if mismatch is None:
            self._problem = ""
        elif mismatch.reindexing:
            self._say_once("re-embedding has not ended: run `ailb memory reindex`")
        else:
            recorded = mismatch.recorded
            self._say_once(
                f"embedded by {recorded.model} ({recorded.dimension}), configured"
                f" {space.model} ({space.dimension}): run `ailb memory reindex`"
            )

    def _say_once(self, problem: str) -> None:
        if problem != self._problem:
            _log.warning("memory: similarity is off or partial: %s", problem)
        self._problem = problem


async def embed_claim(claim: Claim, embedder: Embedder) -> int:
    """Embeds the claimed turns; how many got a vector.

    Raises EmbedderUnavailableError and TimeoutError, and then nothing is written.
    """
    async with asyncio.timeout(EMBED_TIMEOUT_S):
        vectors = await embedder.embed([turn.text for turn in claim.turns])
    return await claim.write(usable(vectors))


def usable(vectors: Sequence[Vector]) -> list[Vector | None]:
    """None for a vector that cannot be compared, or that half precision cannot hold."""
    return [
        vector
        if np.isfinite(vector).all() and 0 < np.abs(vector).max(initial=0) <= _MAX_HALF
        else None
        for vector in vectors
    ]
