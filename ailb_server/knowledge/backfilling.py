"""Vectors for documents that came before the embedder had started."""

import asyncio
import logging

from ailb_server.domain.embedding import Embedder
from ailb_server.domain.errors import AilbError, NotFoundError
from ailb_server.knowledge.reindexing import Reindexing

_EVERY_S = 2.0
# What is beyond is found by its words until somebody runs `ailb rag reindex`.
_MOST = 1000

_log = logging.getLogger(__name__)


class Backfilling:
    """Of the collections that this instance has stored documents in without their vectors: their
    passages are found by words at once, and by meaning when the embedder is there."""

    def __init__(
        self, embedder: Embedder, reindexing: Reindexing, every_s: float = _EVERY_S
    ) -> None:
        self._embedder = embedder
        self._reindexing = reindexing
        self._every_s = every_s
        self._lacking: dict[tuple[int, str], None] = {}

    def note(self, tenant_id: int, collection: str) -> None:
        """Documents without vectors were stored there."""
        if len(self._lacking) < _MOST:
            self._lacking[tenant_id, collection] = None

    async def run(self) -> None:
        """For ever."""
        while True:
            await asyncio.sleep(self._every_s)
            if self._lacking and self._embedder.space is not None:
                await self._fill(next(iter(self._lacking)))

    async def _fill(self, lacking: tuple[int, str]) -> None:
        # Before the work: what is stored during it may be missed by it, and is noted again.
        del self._lacking[lacking]
        tenant_id, name = lacking
        try:
            async for _ in self._reindexing.run(tenant_id, name):
                pass
            _log.info("the collection %s has its vectors now", name)
        except NotFoundError:
            pass
        except AilbError as error:
            _log.warning("the collection %s waits for its vectors: %s", name, error.reason.value)
            self.note(tenant_id, name)
        except Exception as error:  # noqa: BLE001 - the others are to get theirs
            kind = type(error).__qualname__
            _log.error("the collection %s gets no vectors: %s", name, kind)
