"""What a document may be, and how its content type is told."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Format(StrEnum):
    """The formats that text is read from; the values are their content types."""

    PLAIN = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PDF = "application/pdf"


@dataclass(frozen=True, slots=True)
class ContentType:
    """A format, and the encoding that whoever sent the document says it has."""

    format: Format
    charset: str | None = None


_ALIASES: Mapping[str, Format] = MappingProxyType(
    {
        **{format.value: format for format in Format},
        "text/x-markdown": Format.MARKDOWN,
        "application/xhtml+xml": Format.HTML,
        "application/x-pdf": Format.PDF,
        "text/csv": Format.PLAIN,
        "text/tab-separated-values": Format.PLAIN,
    }
)
ENDINGS: Mapping[str, Format] = MappingProxyType(
    {
        **dict.fromkeys((".txt", ".text", ".log", ".rst", ".adoc", ".org"), Format.PLAIN),
        **dict.fromkeys((".csv", ".tsv"), Format.PLAIN),
        **dict.fromkeys((".md", ".markdown", ".mdown", ".mkd", ".mdx"), Format.MARKDOWN),
        **dict.fromkeys((".html", ".htm", ".xhtml"), Format.HTML),
        ".pdf": Format.PDF,
    }
)
"""Endings of names, in lower case, that tell a format."""

_CHARSET = re.compile(r';\s*charset="?([\w.:-]{1,40})"?\s*(?:;|$)', re.IGNORECASE)


def content_type(declared: str) -> ContentType | None:
    """What a `Content-Type` says; None if it is none of ours."""
    kind, _, _ = declared.partition(";")
    format_ = _ALIASES.get(kind.strip().lower())
    charset = _CHARSET.search(declared)
    return ContentType(format_, charset[1] if charset else None) if format_ else None


def format_of_name(name: str) -> Format | None:
    """What the ending of a path or URL's path says."""
    last = name.rpartition("/")[2]
    return ENDINGS.get("." + last.rpartition(".")[2].lower()) if "." in last else None
