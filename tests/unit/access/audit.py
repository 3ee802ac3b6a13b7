"""A store of audit rows that may be away, and what a queue told of itself."""

from dataclasses import dataclass, field

from ailb_server.domain.audit import AuditEvent
from ailb_server.domain.errors import StorageUnavailableError


@dataclass
class FakeRows:
    """Keeps what it is given, unless it is away or refuses it."""

    rows: list[AuditEvent] = field(default_factory=list)
    away: bool = False
    refuses: str = ""
    gone: int = 0

    async def append(self, event: AuditEvent) -> None:
        if self.away:
            raise StorageUnavailableError("away")
        if event.action == self.refuses:
            raise ValueError("no such row")
        self.rows.append(event)

    def lost(self, events: int) -> None:
        self.gone += events
