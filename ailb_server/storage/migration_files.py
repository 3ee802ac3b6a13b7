"""The files of the directory `migrations/`, read and checked."""

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import asyncpg

_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_NO_TRANSACTION = "-- no-transaction"
_SEPARATOR = re.compile(r"^--;[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"--.*?$|/\*.*?\*/", re.MULTILINE | re.DOTALL)


class MigrationError(RuntimeError):
    """The database cannot be migrated; the message says why and names the file."""


@dataclass(frozen=True)
class MigrationFile:
    """One `NNNN_what.sql`."""

    version: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()

    @property
    def transactional(self) -> bool:
        """Whether it runs in one transaction, with its record: all or nothing."""
        return not self.text.startswith(_NO_TRANSACTION)

    def blocks(self) -> Iterator[tuple[int, str]]:
        """What to send at once, each with the number of its first line.

        Postgres runs several statements sent at once in a transaction, so a file without one has
        its statements separated by lines of `--;`.
        """
        ends = [] if self.transactional else [m.span() for m in _SEPARATOR.finditer(self.text)]
        start = 0
        for end, following in [*ends, (len(self.text), 0)]:
            block = self.text[start:end]
            # asyncpg stumbles over the answer to an empty query.
            if _COMMENT.sub("", block).strip():
                yield self.text.count("\n", 0, start) + 1, block
            start = following

    def failure(self, error: asyncpg.PostgresError, first_line: int, statement: str) -> str:
        """A message for `error`, met in a block of this file."""
        position = getattr(error, "position", None)
        line = first_line + (statement.count("\n", 0, int(position) - 1) if position else 0)
        where = f"{self.name}, line {line}" if position else self.name
        hint = getattr(error, "hint", None)
        left = "nothing of it was applied" if self.transactional else "what it did before stays"
        return f"{where}: {error.args[0]}{f' ({hint})' if hint else ''}; {left}"


def load_files(directory: Path) -> list[MigrationFile]:
    """The files in order; raises `MigrationError` for a stray, missing or ambiguous one."""
    try:
        paths = sorted(path for path in directory.iterdir() if path.suffix == ".sql")
        files = [_load(path) for path in paths]
    except (OSError, UnicodeDecodeError) as error:
        raise MigrationError(f"cannot read the migrations in {directory}: {error}") from error
    if not files:
        raise MigrationError(f"there are no migrations in {directory}")
    for earlier, later in pairwise(files):
        if earlier.version == later.version:
            raise MigrationError(f"{earlier.name} and {later.name} have the same number")
    return files


def _load(path: Path) -> MigrationFile:
    match = _NAME.fullmatch(path.name)
    if match is None:
        raise MigrationError(f"{path.name} is not named like 0001_what_it_does.sql")
    # Universal newlines: a checkout with CRLF line ends has the same checksum.
    return MigrationFile(int(match[1]), path.name, path.read_text(encoding="utf-8"))
