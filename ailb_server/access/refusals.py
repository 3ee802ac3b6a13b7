"""Calls that were refused for their key, counted together so that a flood cannot fill the log."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.domain.api_key import Actor, AuditEvent
from ailb_server.domain.errors import StorageUnavailableError

_log = logging.getLogger(__name__)

ACTION = "auth.failed"
# Rows that one flush may write; what is beyond is one row more.
MAX_GROUPS = 32
FLUSH_S = 15.0
_OTHERS = "others"
# Of the store's column.
_MOST = 2**31 - 1


class AuditLog(Protocol):
    """Where events are kept."""

    async def append(self, event: AuditEvent) -> None:
        """Adds a row. Raises StorageUnavailableError."""
        ...


@dataclass(frozen=True, slots=True)
class Refusal:
    """`problem`: missing, malformed, unknown, expired, revoked, or role. `prefix` is how the secret
    begins, if it is made as ours are; `tenant_id`, `key_id` and `actor`, the key's name, are known
    for roles only."""

    problem: str
    method: str
    prefix: str = ""
    peer: str = ""
    request_id: str = ""
    tenant_id: int | None = None
    key_id: int | None = None
    actor: str = ""


@dataclass(slots=True)
class _Group:
    last: Refusal
    times: int = 0


@dataclass(slots=True)
class Refusals:
    """Rows of the audit log, one for each problem, prefix and peer, every `flush_s` seconds.

    While the store is away they go on being counted. `count` is told each problem.
    """

    log: AuditLog
    count: Callable[[str], None]
    flush_s: float = FLUSH_S
    _groups: dict[tuple[str, str, str], _Group] = field(init=False, default_factory=dict)
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)

    def note(self, refusal: Refusal) -> None:
        """Counts a refusal; never waits."""
        self.count(refusal.problem)
        if _log.isEnabledFor(logging.INFO):
            _log.info("refused for its key", extra={"fields": _told(refusal)})
        key = (refusal.problem, refusal.prefix, refusal.peer)
        if key not in self._groups and len(self._groups) >= MAX_GROUPS:
            key = (_OTHERS, "", "")
            refusal = Refusal(_OTHERS, refusal.method, request_id=refusal.request_id)
        group = self._groups.setdefault(key, _Group(refusal))
        group.last = refusal
        group.times = min(group.times + 1, _MOST)

    def start(self) -> None:
        """Begins to write, until `close`."""
        self._task = asyncio.create_task(self._flush_for_ever())

    async def close(self) -> None:
        """Writes what is left, if the store takes it."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
        await self.flush()

    async def flush(self) -> None:
        """Writes the rows; what the store does not take is kept for the next time."""
        while self._groups:
            key = next(iter(self._groups))
            group = self._groups.pop(key)
            try:
                await self.log.append(_event(group))
            except StorageUnavailableError:
                self._give_back(key, group)
                return

    def _give_back(self, key: tuple[str, str, str], group: _Group) -> None:
        newer = self._groups.get(key)
        if newer is None:
            self._groups[key] = group
        else:
            newer.times = min(newer.times + group.times, _MOST)

    async def _flush_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self.flush_s)
            try:
                await self.flush()
            except Exception:  # noqa: BLE001
                # A fault of ours must neither end the writing for good nor pass unseen.
                _log.exception("refused calls could not be written to the audit log")


def _told(refusal: Refusal) -> dict[str, object]:
    return {
        "problem": refusal.problem,
        "method": refusal.method,
        "prefix": refusal.prefix,
        "peer": refusal.peer,
        "key_id": refusal.key_id,
    }


def _event(group: _Group) -> AuditEvent:
    last = group.last
    subject = f"key {last.key_id}" if last.key_id is not None else last.prefix
    return AuditEvent(
        ACTION,
        Actor(last.actor or "nobody", last.key_id, last.peer, last.request_id),
        tenant_id=last.tenant_id,
        subject=subject,
        after={"problem": last.problem, "method": last.method},
        times=group.times,
    )
