"""The real embedder, for tests that judge what it finds."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ailb_server.domain.embedding import Embedder
from tests.support.embedding import local_embedder, model_directory, until_ready

__all__ = ["model_directory", "real_embedder"]


@pytest.fixture
async def real_embedder(model_directory: Path) -> AsyncIterator[Embedder]:
    """The local worker with all-MiniLM-L6-v2."""
    embedder = local_embedder(model_directory)
    embedder.start()
    await until_ready(embedder)
    # Bulk: the whole corpus is more than a query may be.
    yield embedder.bulk
    await embedder.close()
