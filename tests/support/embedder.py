"""The real embedder, where there is one."""

import pytest

from ailb_server.domain.embedding import Embedder


@pytest.fixture
def real_embedder() -> Embedder:
    """The local worker with all-MiniLM-L6-v2."""
    pytest.skip("the local embedder is not connected to the tests yet")
