"""A store of audit rows that may be away, and what a queue told of itself."""

import asyncio
from dataclasses import dataclass, field

from ailb_server.domain.audit import AuditEvent
from ailb_server.domain.errors import StorageUnavailableError


@dataclass
class FakeRows:
    """Keeps what it is given, unless it is away or refuses it. As Postgres it may have a row before
    whoever adds it knows: `answers` is when that is told, and `mute` that it never is."""

    rows: list[AuditEvent] = field(default_factory=list)
    away: bool = False
    refuses: str = ""
    gone: int = 0
    mute: bool = False
    answers: asyncio.Event | None = None
    writing: asyncio.Event = field(default_factory=asyncio.Event)

    async def append(self, event: AuditEvent) -> None:
        if self.away:
            raise StorageUnavailableError("away")
        if event.action == self.refuses:
            raise ValueError("no such row")
        if event not in self.rows:
            self.rows.append(event)
        self.writing.set()
        if self.answers is not None:
            await self.answers.wait()
        if self.mute:
            raise StorageUnavailableError("cut")

    def lost(self, events: int) -> None:
        self.gone += events
