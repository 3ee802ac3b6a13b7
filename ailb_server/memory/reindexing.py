"""Re-embeds a tenant's turns after the embedding model has changed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from ailb_server.domain.embedding import Embedder, EmbeddingSpace
from ailb_server.domain.errors import EmbedderUnavailableError, EmbeddingMismatchError
from ailb_server.domain.memory_queries import Embedded
from ailb_server.domain.principal import Principal
from ailb_server.memory.stores import ReindexStore
from ailb_server.memory.turn_embedding import BATCH, MAX_DIMENSION, embed_claim

_PAUSE_S = 0.2


class Reindexing:
    """Resumable: what is embedded in the new space already is not embedded again.

    Meanwhile recalls compare with what is done, and give the last turns as always. `ended` is
    called after each run.
    """

    def __init__(
        self, store: ReindexStore, embedder: Embedder, ended: Callable[[], object]
    ) -> None:
        self._store = store
        self._embedder = embedder
        self._ended = ended

    async def run(self, who: Principal) -> AsyncGenerator[Embedded, None]:
        """Yields how far it is, at the beginning, after each batch and at the end.

        Raises EmbedderUnavailableError, StorageUnavailableError, and EmbeddingMismatchError for a
        model whose vectors are too long.
        """
        space = self._embedder.space
        if space is None:
            raise EmbedderUnavailableError("There is no embedder, or it has not started yet.")
        if space.dimension > MAX_DIMENSION:
            raise EmbeddingMismatchError(
                f"Memory stores vectors of at most {MAX_DIMENSION} dimensions."
            )
        await self._store.begin_reindex(who.tenant_id, space)
        progress = await self._store.embedded(who.tenant_id)
        yield progress
        while progress.done < progress.total:
            async with aclosing(self._pass(who.tenant_id, space, progress)) as steps:
                async for step in steps:
                    yield step
            # Counted anew: turns came and went meanwhile.
            progress = await self._store.embedded(who.tenant_id)
            yield progress
            if progress.done < progress.total:
                # The background task, or another reindex, has the last ones in hand.
                await asyncio.sleep(_PAUSE_S)
        await self._store.end_reindex(who.tenant_id, space)
        self._ended()

    async def _pass(
        self, tenant_id: int, space: EmbeddingSpace, progress: Embedded
    ) -> AsyncGenerator[Embedded, None]:
        """Once over all turns, in order: each batch begins after the one before."""
        done, after = progress.done, (0, -1)
        while True:
            async with self._store.claim_outdated(tenant_id, space, BATCH, after) as claim:
                if not claim.turns:
                    return
                done += await _embedded_in_time(embed_claim(claim, self._embedder))
                last = claim.turns[-1]
                after = (last.session_id, last.turn)
            yield Embedded(min(done, progress.total), progress.total)


async def _embedded_in_time(embedding: Awaitable[int]) -> int:
    try:
        return await embedding
    except TimeoutError as error:
        raise EmbedderUnavailableError("The embedder does not answer.") from error
