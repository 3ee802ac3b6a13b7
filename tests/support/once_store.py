"""An `OnceStore` in memory, for tests: it passes what Postgres's is tested by."""

import uuid
from dataclasses import dataclass, field

from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.domain.repeats import Claim, OnceName, Taken


@dataclass
class Row:
    body: bytes
    holder: str
    lease_until: float
    done: bool = False
    recording: bytes | None = None


@dataclass
class InMemoryOnceStore:
    """`now` is the time, in seconds. While `away`, nothing works."""

    lease_s: float = 30.0
    now: float = 0.0
    away: bool = False
    rows: dict[OnceName, Row] = field(default_factory=dict)
    renewals: int = 0
    refused: int = 0

    async def claim(self, name: OnceName, body: bytes) -> Claim | Taken:
        self._reach()
        row = self.rows.get(name)
        if row is not None and (row.done or row.lease_until > self.now):
            same = row.body == body
            return Taken(same, row.done, row.recording if same else None)
        holder = str(uuid.uuid4())
        self.rows[name] = Row(body, holder, self.now + self.lease_s)
        return Claim(name, holder)

    async def renew(self, claim: Claim) -> bool:
        self._reach()
        self.renewals += 1
        row = self._held(claim)
        if row is not None:
            row.lease_until = self.now + self.lease_s
        return row is not None

    async def finish(self, claim: Claim, recording: bytes | None) -> bool:
        self._reach()
        row = self._held(claim)
        if row is not None:
            row.done, row.recording = True, recording
        return row is not None

    async def release(self, claim: Claim) -> None:
        self._reach()
        if self._held(claim) is not None:
            del self.rows[claim.name]

    async def sweep(self) -> bool:
        self._reach()
        return False

    def _held(self, claim: Claim) -> Row | None:
        row = self.rows.get(claim.name)
        return row if row and row.holder == claim.holder and not row.done else None

    def _reach(self) -> None:
        if self.away:
            self.refused += 1
            raise StorageUnavailableError("The store is unavailable.", retry_after_s=1)
