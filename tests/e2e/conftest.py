"""One stack for all tests that do not change it."""

from collections.abc import Iterator

import pytest

from tests.support.postgres import (
    migrated_dsn,
    migrated_template,
    postgres_dsn,
    postgres_server,
)
from tests.support.stack import Stack

__all__ = ["migrated_dsn", "migrated_template", "postgres_dsn", "postgres_server"]


@pytest.fixture(scope="session")
def stack(postgres_server: str) -> Iterator[Stack]:
    """Envoy, the gateway, and one upstream `openai` with the demo's models."""
    with Stack(postgres_server) as running:
        yield running
