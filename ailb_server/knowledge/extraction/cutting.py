"""A file's bytes as pieces of text: extraction and chunking in one call."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from ailb_server.knowledge.extraction.chunking import Piece, pieces
from ailb_server.knowledge.extraction.content_types import ContentType, Format
from ailb_server.knowledge.extraction.extracted import Extracted, UnreadableError

MAX_PIECES = 50_000


@dataclass(frozen=True, slots=True)
class CutRules:
    """A collection's `chunk_size` and `chunk_overlap`, in characters."""

    size: int
    overlap: int


@dataclass(frozen=True, slots=True)
class CutDocument:
    """A document in pieces; `characters` is the length of its text, `title` empty if it tells
    none."""

    title: str
    characters: int
    pieces: Sequence[Piece]


def cut_up(content: bytes, kind: ContentType, rules: CutRules) -> CutDocument:
    """Raises UnreadableError."""
    document = _extract(content, kind)
    found = tuple(islice(pieces(document, rules.size, rules.overlap), MAX_PIECES + 1))
    if not found:
        raise UnreadableError("has no text")
    if len(found) > MAX_PIECES:
        raise UnreadableError(f"would be cut into more than {MAX_PIECES:,} passages")
    return CutDocument(document.title, len(document.text.strip()), found)


def _extract(content: bytes, kind: ContentType) -> Extracted:
    # Each format imports its own library, and only once it is asked for.
    match kind.format:
        case Format.PLAIN:
            from ailb_server.knowledge.extraction.plain_text import extract_plain  # noqa: PLC0415

            return extract_plain(content, kind.charset)
        case Format.MARKDOWN:
            from ailb_server.knowledge.extraction.markdown_text import (  # noqa: PLC0415
                extract_markdown,
            )

            return extract_markdown(content, kind.charset)
        case Format.HTML:
            from ailb_server.knowledge.extraction.html_text import extract_html  # noqa: PLC0415

            return extract_html(content, kind.charset)
        case Format.PDF:
            from ailb_server.knowledge.extraction.pdf_text import extract_pdf  # noqa: PLC0415

            return extract_pdf(content)
