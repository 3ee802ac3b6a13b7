"""Takes documents in and tells how far they are; `import_worker` does the work."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import orjson

from ailb_server.domain.chat import Json
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.imports import Backlog, GivenDocument, ImportStatus
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.extraction.content_types import (
    ContentType,
    Format,
    content_type,
    format_of_name,
)
from ailb_server.knowledge.ports import CollectionStore

MAX_DOCUMENTS = 1000
MAX_CONTENT_BYTES = 32 * 1024 * 1024
MAX_ID = 512
MAX_TITLE = 1024
MAX_SOURCE = 4096
MAX_METADATA_BYTES = 16 * 1024
_MAX_CONTENT_TYPE = 256
# Smaller ones are hashed sooner than a thread is asked.
_HASHED_AT_ONCE = 256 * 1024


@dataclass(frozen=True, slots=True)
class DocumentInput:
    """A document as a caller wrote it. `body` is a text or a file's bytes; None if left out."""

    id: str
    body: str | bytes | None = field(repr=False)
    title: str = ""
    source: str = ""
    metadata: Mapping[str, Json] = field(default_factory=dict)
    content_type: str = ""


@dataclass(frozen=True, slots=True)
class IntakeRules:
    """What one tenant may have waiting, and how often a watcher looks."""

    documents: int = 10_000
    bytes: int = 256 * 1024 * 1024
    poll_s: float = 0.25
    slowest_poll_s: float = 1.0


class ImportStore(Protocol):
    """Imports, kept. Every method raises StorageUnavailableError in an outage."""

    async def accept(
        self,
        tenant_id: int,
        collection_id: int,
        documents: Sequence[GivenDocument],
        bound: Backlog,
    ) -> ImportStatus:
        """An import of `documents`, whose ids differ; what is unchanged is counted at once.

        Raises OverloadedError if the tenant would have more waiting than `bound`, NotFoundError if
        the collection is gone.
        """
        ...

    async def status(self, tenant_id: int, import_id: str) -> ImportStatus:
        """Raises NotFoundError."""
        ...


class Importing:
    """Imports of a tenant. `wake` tells this instance's workers that there is work."""

    def __init__(
        self,
        collections: CollectionStore,
        imports: ImportStore,
        wake: Callable[[], None],
        rules: IntakeRules | None = None,
    ) -> None:
        self._collections = collections
        self._imports = imports
        self._wake = wake
        self._rules = rules or IntakeRules()

    async def start(
        self, who: Principal, collection: str, documents: Sequence[DocumentInput]
    ) -> ImportStatus:
        """Returns once all of them are stored for the workers, whichever instance's they are.

        Raises InvalidRequestError with the `param`, NotFoundError, OverloadedError.
        """
        drafts = checked(documents)
        found = await self._collections.collection(who.tenant_id, collection)
        given = [await _given(draft) for draft in drafts]
        bound = Backlog(self._rules.documents, self._rules.bytes)
        status = await self._imports.accept(who.tenant_id, found.id, given, bound)
        self._wake()
        return status

    async def status(self, who: Principal, import_id: str) -> ImportStatus:
        """Raises NotFoundError."""
        return await self._imports.status(who.tenant_id, import_id)

    async def watch(self, who: Principal, import_id: str) -> AsyncGenerator[ImportStatus]:
        """The status now and whenever it has changed, until the import has finished.

        Raises NotFoundError, also when the import is deleted with its collection.
        """
        told: ImportStatus | None = None
        pause_s = self._rules.poll_s
        while told is None or told.finished_at is None:
            status = await self._imports.status(who.tenant_id, import_id)
            if status != told:
                told, pause_s = status, self._rules.poll_s
                yield status
            else:
                pause_s = min(pause_s * 1.5, self._rules.slowest_poll_s)
            if status.finished_at is None:
                await asyncio.sleep(pause_s)


@dataclass(frozen=True, slots=True)
class Draft:
    """A document checked, before its content is hashed."""

    document: DocumentInput
    content: bytes = field(repr=False)
    content_type: str


def checked(documents: Sequence[DocumentInput]) -> list[Draft]:
    """Raises InvalidRequestError for the first fault."""
    if not 1 <= len(documents) <= MAX_DOCUMENTS:
        raise _fault("documents", f"must be 1 to {MAX_DOCUMENTS:,}")
    seen: set[str] = set()
    drafts = []
    for index, document in enumerate(documents):
        at = f"documents[{index}]"
        _check(at, document)
        if document.id in seen:
            raise _fault(f"{at}.id", "is the id of another document of the request")
        seen.add(document.id)
        drafts.append(_draft(at, document))
    return drafts


def _check(at: str, document: DocumentInput) -> None:
    if not 1 <= len(document.id) <= MAX_ID or not document.id.isprintable():
        raise _fault(f"{at}.id", f"must be 1 to {MAX_ID} printable characters")
    for name, text, limit in (
        ("title", document.title, MAX_TITLE),
        ("source", document.source, MAX_SOURCE),
        ("content_type", document.content_type, _MAX_CONTENT_TYPE),
    ):
        if len(text) > limit:
            raise _fault(f"{at}.{name}", f"must be at most {limit:,} characters")
    if len(orjson.dumps(document.metadata)) > MAX_METADATA_BYTES:
        raise _fault(f"{at}.metadata", f"must be at most {MAX_METADATA_BYTES:,} bytes of JSON")


def _draft(at: str, document: DocumentInput) -> Draft:
    body = document.body
    content = body.encode() if isinstance(body, str) else body
    name = f"{at}.{'text' if isinstance(body, str) else 'content'}"
    if not content:
        raise _fault(name, "is required")
    if len(content) > MAX_CONTENT_BYTES:
        raise _fault(name, f"must be at most {MAX_CONTENT_BYTES:,} bytes")
    return Draft(document, content, _content_type(at, document))


def _content_type(at: str, document: DocumentInput) -> str:
    """As HTTP says it; of a text, the encoding is known."""
    is_text = isinstance(document.body, str)
    kind = content_type(document.content_type) if document.content_type else _implied(document)
    if kind is None:
        known = ", ".join(format_.value for format_ in Format)
        told = "is none of" if document.content_type else "is needed, for the id does not tell it:"
        raise _fault(f"{at}.content_type", f"{told} {known}")
    if is_text and kind.format is Format.PDF:
        raise _fault(f"{at}.text", "cannot be a PDF: send it as `content`")
    charset = "utf-8" if is_text else kind.charset
    return f"{kind.format.value}; charset={charset}" if charset else kind.format.value


def _implied(document: DocumentInput) -> ContentType | None:
    if isinstance(document.body, str):
        return ContentType(Format.PLAIN)
    format_ = format_of_name(document.id)
    return ContentType(format_) if format_ else None


async def _given(draft: Draft) -> GivenDocument:
    if len(draft.content) > _HASHED_AT_ONCE:
        # hashlib lets the interpreter go on meanwhile.
        sha256 = await asyncio.to_thread(_sha256, draft.content)
    else:
        sha256 = _sha256(draft.content)
    document = draft.document
    return GivenDocument(
        id=document.id,
        content=draft.content,
        content_type=draft.content_type,
        sha256=sha256,
        title=_storable(document.title),
        source=_storable(document.source),
        metadata={_storable(name): _without_nul(v) for name, v in document.metadata.items()},
    )


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _storable(text: str) -> str:
    """Postgres refuses NUL."""
    return text.replace("\0", "")


def _without_nul(value: Json) -> Json:
    if isinstance(value, str):
        return _storable(value)
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {_storable(name): _without_nul(item) for name, item in value.items()}
    return value


def _fault(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{param}` {what}.", param=param)
