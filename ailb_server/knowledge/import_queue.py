"""What the workers of imports ask of a store and of extraction."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from ailb_server.domain.imports import Claim, Done, ImportItem, StoredDocument
from ailb_server.knowledge.extraction.content_types import ContentType
from ailb_server.knowledge.extraction.cutting import CutDocument, CutRules


class ImportQueue(Protocol):
    """Documents that wait. Every method raises StorageUnavailableError in an outage."""

    async def next_tenant(self, after: int) -> int | None:
        """The first tenant beyond `after` that has work due."""
        ...

    async def claim(self, tenant_id: int, claim: Claim) -> Sequence[ImportItem]:
        """Takes up the tenant's oldest due documents, one version of each."""
        ...

    async def renew(
        self, tenant_id: int, worker: UUID, ids: Collection[int], lease_s: float
    ) -> set[int]:
        """Keeps those of `ids` that are still the worker's, and returns them."""
        ...

    async def release(
        self,
        tenant_id: int,
        worker: UUID,
        ids: Collection[int],
        *,
        delay_s: float,
        tried: bool,
    ) -> None:
        """Lets others take them up, after `delay_s`; `tried`: it counts as an attempt."""
        ...

    async def finish(self, worker: UUID, done: Mapping[ImportItem, Done]) -> None:
        """Ends the work on them, but for those that are no longer the worker's."""
        ...

    async def stored(self, items: Sequence[ImportItem]) -> Mapping[int, StoredDocument]:
        """What their one collection has under their documents' ids, by the item's id."""
        ...

    async def amend(self, item: ImportItem) -> None:
        """Stores what is new about a document whose content is not."""
        ...


class OldImports(Protocol):
    """What is removed in time."""

    async def remove_old(self, days: int, limit: int) -> int:
        """Removes at most `limit` imports that finished so long ago; returns how many."""
        ...


class Extraction(Protocol):
    """Reads files, apart from the event loop."""

    async def cut_up(self, content: bytes, kind: ContentType, rules: CutRules) -> CutDocument:
        """Raises UnreadableError, ExtractionUnavailableError."""
        ...

    async def close(self) -> None:
        """Gives back what it holds; may be used again."""
        ...


@dataclass(frozen=True, slots=True)
class WorkRules:
    """How an instance works on imports.

    `lanes` groups of at most `group_documents` and about `group_bytes` at once, so that the next
    one is begun before the last one is done. Of a group, `calls_at_once` calls with `batch_texts`
    are embedded meanwhile that at most `stored_documents` with about `stored_chunks` are stored in
    one transaction. Seconds for leases, waits between tries, and looking for work that other
    instances were given. A document is tried `attempts` times.
    """

    lanes: int = 2
    group_documents: int = 128
    group_bytes: int = 8 * 1024 * 1024
    batch_texts: int = 64
    calls_at_once: int = 2
    stored_documents: int = 64
    stored_chunks: int = 256
    attempts: int = 5
    lease_s: float = 60.0
    first_wait_s: float = 0.5
    longest_wait_s: float = 30.0
    idle_s: float = 2.0
    rest_after_s: float = 60.0
    kept_days: int = 7
    removal_every_s: float = 3600.0
