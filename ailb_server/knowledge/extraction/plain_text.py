"""Plain text, and bytes as characters."""

import codecs
from contextlib import suppress

from ailb_server.knowledge.extraction.extracted import Extracted, UnreadableError, clean

# The longer ones first: UTF-16's mark begins UTF-32's.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# As browsers take what declares nothing. Guessing by statistics reads short texts as Chinese.
_FALLBACK = "cp1252"
_PROBE_BYTES = 8192
_MOSTLY, _HARDLY = 0.7, 0.05


def extract_plain(content: bytes, charset: str | None) -> Extracted:
    """The text as it is. Raises UnreadableError for what is no text."""
    return Extracted(clean(decode(content, charset)))


def decode(content: bytes, charset: str | None = None) -> str:
    """By its byte order mark, else as declared, else UTF-8, else UTF-16 if it looks so, else
    Windows-1252.

    Raises UnreadableError for bytes that are no text.
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(name, "replace")
    if charset:
        with suppress(LookupError, UnicodeError, ValueError):
            # Binary codecs such as `hex` are a LookupError.
            return content.decode(charset)
    probe = content[:_PROBE_BYTES]
    if b"\0" in probe:
        return content.decode(_wide(probe), "replace")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode(_FALLBACK, "replace")


def _wide(probe: bytes) -> str:
    """UTF-16 of mostly Latin letters has a zero in every second byte, and hardly elsewhere."""
    half = max(len(probe) // 2, 1)
    high, low = probe[::2].count(0) / half, probe[1::2].count(0) / half
    if low > _MOSTLY and high < _HARDLY:
        return "utf-16-le"
    if high > _MOSTLY and low < _HARDLY:
        return "utf-16-be"
    raise UnreadableError("is no text")
