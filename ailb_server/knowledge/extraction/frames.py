"""What the gateway and its extraction process say to each other, over pipes.

A request is two lengths (big-endian, 32 bits), a JSON object and the file. An answer is frames of a
length and JSON: an object first, then arrays of pieces, each small, so that the reader's event loop
is never held up by a large document.
"""

import json
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from ailb_server.knowledge.extraction.chunking import Piece
from ailb_server.knowledge.extraction.content_types import ContentType, Format
from ailb_server.knowledge.extraction.cutting import CutDocument, CutRules

REQUEST = struct.Struct(">II")
LENGTH = struct.Struct(">I")
# A piece has at most 8,000 characters of at most 4 bytes, and escapes double some of them.
MAX_FRAME_BYTES = 4 * 1024 * 1024
_FRAME_CHARACTERS = 128 * 1024


def request_head(kind: ContentType, rules: CutRules) -> bytes:
    """The JSON object of a request."""
    fields = {
        "format": kind.format.value,
        "charset": kind.charset,
        "size": rules.size,
        "overlap": rules.overlap,
    }
    return json.dumps(fields).encode()


def parse_request(head: bytes) -> tuple[ContentType, CutRules]:
    """What `request_head` made."""
    fields = json.loads(head)
    kind = ContentType(Format(fields["format"]), fields["charset"])
    return kind, CutRules(fields["size"], fields["overlap"])


def frame(value: object) -> bytes:
    """One frame of an answer."""
    data = json.dumps(value, ensure_ascii=False).encode()
    return LENGTH.pack(len(data)) + data


def document_frames(document: CutDocument) -> Iterator[bytes]:
    """A whole answer, frame by frame."""
    yield frame(
        {
            "title": document.title,
            "characters": document.characters,
            "pieces": len(document.pieces),
        }
    )
    batch: list[tuple[str, int]] = []
    characters = 0
    for piece in document.pieces:
        batch.append((piece.text, piece.overlap))
        characters += len(piece.text)
        if characters >= _FRAME_CHARACTERS:
            yield frame(batch)
            batch, characters = [], 0
    if batch:
        yield frame(batch)


def parse_pieces(data: bytes) -> Sequence[Piece]:
    """Raises ValueError for what `document_frames` does not make: the process may be deceived."""
    found: Any = json.loads(data)
    try:
        return [Piece(str(text), int(overlap)) for text, overlap in found]
    except TypeError as error:
        raise ValueError("no pieces") from error
