"""Migrations are numbered without gaps, from 0001."""

import re

from tests.shape.sources import REPOSITORY


def test_numbers_have_no_gaps() -> None:
    names = sorted(path.name for path in (REPOSITORY / "migrations").iterdir())
    assert [n for n in names if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", n)] == []
    assert [int(name[:4]) for name in names] == list(range(1, len(names) + 1))
