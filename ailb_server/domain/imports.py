"""Documents on their way into a collection."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias
from uuid import UUID

from ailb_server.domain.chat import Json

Outcome: TypeAlias = Literal["imported", "unchanged", "failed"]


@dataclass(frozen=True, slots=True)
class GivenDocument:
    """A document as a caller gave it, checked.

    `title` is empty if none was given; `sha256` is of `content`, in hex; `content_type` is as HTTP
    says it, with a charset where the encoding is known.
    """

    id: str
    content: bytes = field(repr=False)
    content_type: str
    sha256: str
    title: str = ""
    source: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """What a collection has under a document's id."""

    sha256: str
    title: str
    source: str
    metadata: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """A document that could not be imported, and why, for people."""

    document_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportStatus:
    """How far an import is; it has finished when `finished_at` is not None."""

    id: str
    collection: str
    total: int
    imported: int
    unchanged: int
    failed: int
    passages: int
    created_at: datetime
    finished_at: datetime | None
    failures: Sequence[ImportFailure] = ()


@dataclass(frozen=True, slots=True)
class ImportItem:
    """A document that a worker has taken up; `attempts` counts this time too."""

    id: int
    tenant_id: int
    import_id: UUID
    collection_id: int
    collection: str
    document: GivenDocument = field(hash=False)
    attempts: int


@dataclass(frozen=True, slots=True)
class Done:
    """How the work on a document ended; `passages` is how many it made."""

    outcome: Outcome
    reason: str | None = None
    passages: int = 0


@dataclass(frozen=True, slots=True)
class Backlog:
    """What waits, or may wait at most: documents, and bytes of content."""

    documents: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Claim:
    """What a worker takes up: at most so many documents, until they have about so many bytes, for
    `lease_s` unless it is renewed."""

    worker: UUID
    documents: int
    bytes: int
    lease_s: float


@dataclass(frozen=True, slots=True)
class Sorted:
    """Given documents, by the work they are. `amended` are unchanged but for what is about them."""

    work: Sequence[GivenDocument]
    amended: Sequence[GivenDocument]
    unchanged: int


def sort_out(
    given: Sequence[GivenDocument], stored: Mapping[str, StoredDocument], pending: Collection[str]
) -> Sorted:
    """Compares with what is stored. What has an earlier version on its way (`pending`) is work,
    for what is stored now says nothing about it."""
    known = [d for d in given if d.id not in pending and same_content(d, stored.get(d.id))]
    amended = [d for d in known if is_amended(d, stored[d.id])]
    ids = {d.id for d in known}
    return Sorted([d for d in given if d.id not in ids], amended, len(known))


def same_content(given: GivenDocument, stored: StoredDocument | None) -> bool:
    """Nothing has to be read, cut or embedded."""
    return stored is not None and stored.sha256 == given.sha256


def is_amended(given: GivenDocument, stored: StoredDocument) -> bool:
    """What is about the document is new. No title leaves it the one that it has."""
    return (
        given.source != stored.source
        or given.metadata != stored.metadata
        or given.title not in {"", stored.title}
    )
