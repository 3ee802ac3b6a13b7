"""What extraction makes of a file."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

_SURROGATES = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n?")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at the characters `start` to `end` of the text; `level` is 1 to 6."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """A document's text. `title` is empty if it tells none; `headings` are in order."""

    text: str
    title: str = ""
    headings: Sequence[Heading] = ()


class UnreadableError(Exception):
    """A file that cannot be read as what it is said to be.

    The message continues "The document …"; it has nothing of the document in it.
    """


def clean(text: str) -> str:
    """Without what Postgres refuses, and with LF at the ends of lines."""
    return _SURROGATES.sub("\ufffd", _LINE_ENDS.sub("\n", text)).replace("\0", "")


def one_line(text: str, limit: int = 500) -> str:
    """For titles: no line ends, no runs of white space, at most `limit` characters."""
    return " ".join(clean(text).split())[:limit]
