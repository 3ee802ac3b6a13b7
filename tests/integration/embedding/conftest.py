"""A worker with the real model, shared by the tests that do not harm it."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from ailb_server.embedding.loading import installed
from ailb_server.embedding.local import LocalEmbedder
from tests.support.embedding import local_embedder, model_directory, until_ready

__all__ = ["embedder", "model_directory", "torch_runtime"]


@pytest.fixture
def torch_runtime() -> None:
    """Skips where torch is not installed; fails where CI says that it is (AILB_TEST_TORCH=1)."""
    if installed("torch"):
        return
    assert os.environ.get("AILB_TEST_TORCH") != "1", "torch is not installed"
    pytest.skip("torch and sentence-transformers are not installed")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedder(model_directory: Path) -> AsyncIterator[LocalEmbedder]:
    made = local_embedder(model_directory)
    made.start()
    yield await until_ready(made)
    await made.close()
