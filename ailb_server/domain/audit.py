"""The audit log: what was done or refused, by whom."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias

# `refused`: whoever asked may not. `failed`: it was tried and did not come about.
Outcome: TypeAlias = Literal["ok", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something that the audit log tells."""

    name: str
    key_id: int | None = None
    peer: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """A row of the audit log. `action` is a noun and what befell it, such as `key.created`;
    `subject` is what it befell, such as `key 7`. `before` and `after` are of JSON and hold no
    secret and no prompt; only what changed, where the whole is large.

    `times`: how many events of one kind it stands for. `at`, in seconds since 1970, is when the
    last of them was; None: when the row is written.
    """

    action: str
    actor: Actor
    tenant_id: int | None = None
    subject: str = ""
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    times: int = 1
    outcome: Outcome = "ok"
    at: float | None = None


class AuditLog(Protocol):
    """Where others tell what was done. A change that Postgres keeps is told in its own transaction
    instead, by `storage.audit.PostgresAuditLog.append_with`."""

    def record(self, event: AuditEvent) -> None:
        """A row of its own: for changes. Returns at once and never raises; it is written within a
        moment, or once the store is back."""
        ...

    def count(self, event: AuditEvent, kind: str = "") -> None:
        """For what repeats: reads, refusals. Equal ones (by action, outcome, tenant, actor, peer,
        subject and `kind`) become one row every 15 s, which tells the last one and how many there
        were. Returns at once and never raises."""
        ...

    async def append(self, event: AuditEvent) -> None:
        """As `record`, but the row is there when it returns. Raises StorageUnavailableError."""
        ...
