"""Fixtures of the integration tests."""

from tests.support.postgres import (
    migrated_dsn,
    migrated_template,
    postgres_dsn,
    postgres_server,
)

__all__ = ["migrated_dsn", "migrated_template", "postgres_dsn", "postgres_server"]
