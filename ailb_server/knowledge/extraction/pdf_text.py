"""PDF, by pypdf: pure Python, so a broken file is an exception and not a crash."""

import io
from collections.abc import Iterator

from pypdf import PdfReader
from pypdf.errors import PyPdfError

from ailb_server.knowledge.extraction.extracted import (
    Extracted,
    UnreadableError,
    clean,
    one_line,
)

# Pages are compressed: a small file may hold a library of text.
MAX_CHARACTERS = 32 * 1024 * 1024


def extract_pdf(content: bytes) -> Extracted:
    """Its pages' text, an empty line between them, and the title of its metadata.

    Raises UnreadableError if it is broken, encrypted, or has no text.
    """
    try:
        reader = PdfReader(io.BytesIO(content))
        _open(reader)
        pages = list(_pages(reader))
        title = _title(reader)
    except UnreadableError:
        raise
    except MemoryError:
        raise
    except Exception as error:
        # Beside its own errors, pypdf raises whatever a broken file leads it to.
        raise UnreadableError("is no PDF that can be read: it is broken") from error
    text = "\n\n".join(page for page in pages if page)
    if not text:
        raise UnreadableError("is a PDF without text: perhaps a scan")
    return Extracted(text, title)


def _open(reader: PdfReader) -> None:
    """Many files are encrypted with an empty password, only to forbid printing."""
    if not reader.is_encrypted:
        return
    try:
        opened = bool(reader.decrypt(""))
    except (PyPdfError, NotImplementedError):
        opened = False
    if not opened:
        raise UnreadableError("is an encrypted PDF")


def _pages(reader: PdfReader) -> Iterator[str]:
    characters = 0
    for page in reader.pages:
        text = clean(page.extract_text()).strip()
        characters += len(text)
        if characters > MAX_CHARACTERS:
            raise UnreadableError(f"has more than {MAX_CHARACTERS:,} characters of text")
        yield text


def _title(reader: PdfReader) -> str:
    title = reader.metadata.title if reader.metadata else None
    return one_line(title) if isinstance(title, str) else ""
