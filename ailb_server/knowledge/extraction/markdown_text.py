"""Markdown: kept as it is, for models read it well; its headings and title are told."""

import re
from collections.abc import Iterator, Sequence

import yaml

from ailb_server.knowledge.extraction.extracted import Extracted, Heading, clean, one_line
from ailb_server.knowledge.extraction.plain_text import decode

_FRONT_MATTER = re.compile(r"---[ \t]*\n(.{0,65536}?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL)
_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)")
_SETEXT = re.compile(r" {0,3}(=+|-+)[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
# What cannot be the text of a heading that is underlined.
_NO_PARAGRAPH = re.compile(r"\s*(?:$|[#>|`~]|[-*+] |\d+[.)] |    )")


def extract_markdown(content: bytes, charset: str | None) -> Extracted:
    """The text without front matter; the title is the front matter's, else the first heading's of
    level 1. Raises UnreadableError for what is no text."""
    text = clean(decode(content, charset))
    title = ""
    if front := _FRONT_MATTER.match(text):
        title, text = _front_title(front[1]), text[front.end() :]
    headings = tuple(headings_of(text))
    return Extracted(text, title or first_title(headings), headings)


def first_title(headings: Sequence[Heading]) -> str:
    """The first heading of level 1; empty if there is none."""
    return next((h.title for h in headings if h.level == 1 and h.title), "")


def headings_of(text: str) -> Iterator[Heading]:
    """Both of CommonMark's kinds, outside fenced code."""
    fence = ""
    before: tuple[int, str] | None = None
    start = 0
    for line in text.split("\n"):
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) else fence
            before = None
        elif mark:
            fence, before = mark[1], None
        else:
            found = _heading(start, line, before)
            if found:
                yield found
            before = None if found or _NO_PARAGRAPH.match(line) else (start, line)
        start += len(line) + 1


def _heading(start: int, line: str, before: tuple[int, str] | None) -> Heading | None:
    if atx := _ATX.match(line):
        title = line[atx.end() :].strip()
        closed = title.rstrip("#")
        title = closed if not closed or closed[-1].isspace() else title
        return Heading(start, start + len(line), len(atx[1]), one_line(title))
    underline = _SETEXT.fullmatch(line) if before else None
    if before and underline:
        level = 1 if underline[1].startswith("=") else 2
        return Heading(before[0], start + len(line), level, one_line(before[1]))
    return None


def _front_title(front: str) -> str:
    try:
        fields = yaml.safe_load(front)
    except (yaml.YAMLError, ValueError, RecursionError):
        return ""
    title = fields.get("title") if isinstance(fields, dict) else None
    return one_line(str(title)) if isinstance(title, str | int | float) else ""
