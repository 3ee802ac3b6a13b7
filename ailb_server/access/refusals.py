"""Calls that were refused for their key, counted together so that a flood cannot fill the log."""

import logging
from collections.abc import Callable
from dataclasses import dataclass

from ailb_server.domain.audit import Actor, AuditEvent, AuditLog

ACTION = "auth.failed"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """`problem`: missing, malformed, unknown, expired, revoked, unsigned, signature, timestamp,
    replayed, or role. `prefix` is how the secret begins, if it is made as ours are; `tenant_id`,
    `key_id` and `actor`, the key's name, are known for roles only."""

    problem: str
    method: str
    prefix: str = ""
    peer: str = ""
    request_id: str = ""
    tenant_id: int | None = None
    key_id: int | None = None
    actor: str = ""


@dataclass(frozen=True, slots=True)
class Refusals:
    """Events of the audit log, counted by problem, prefix and peer. `count` hears each problem."""

    log: AuditLog
    count: Callable[[str], None]

    def note(self, refusal: Refusal) -> None:
        """Counts a refusal; never waits."""
        self.count(refusal.problem)
        if _log.isEnabledFor(logging.INFO):
            _log.info("refused for its key", extra={"fields": _told(refusal)})
        self.log.count(_event(refusal), kind=refusal.problem)


def _told(refusal: Refusal) -> dict[str, object]:
    return {
        "problem": refusal.problem,
        "method": refusal.method,
        "prefix": refusal.prefix,
        "peer": refusal.peer,
        "key_id": refusal.key_id,
    }


def _event(refusal: Refusal) -> AuditEvent:
    subject = f"key {refusal.key_id}" if refusal.key_id is not None else refusal.prefix
    return AuditEvent(
        ACTION,
        Actor(refusal.actor or "nobody", refusal.key_id, refusal.peer, refusal.request_id),
        tenant_id=refusal.tenant_id,
        subject=subject,
        after={"problem": refusal.problem, "method": refusal.method},
        outcome="refused",
    )
