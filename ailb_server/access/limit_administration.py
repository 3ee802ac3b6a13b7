"""What is done to rate limits at run time: set, listed, removed."""

import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.rate_limit import LimitTarget, RateLimit, TargetKind

MAX_RATE = 1_000_000_000
MAX_LIMITS = 1_000
MAX_NAME = 256
MAX_NOTES = 32
MAX_NOTE_KEY = 64
MAX_NOTE = 512
MAX_KEY_ID = 2**31 - 1
_LIMIT_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")


class RateLimitRecords(Protocol):
    """Where rate limits are kept; every change with its row in the audit log, and announced to
    every instance. Raises StorageUnavailableError."""

    async def put(self, limit: RateLimit, target: LimitTarget, most: int, by: Actor) -> None:
        """Makes or replaces it. Raises NotFoundError (no such key, tenant or route) and
        InvalidRequestError (several keys of the name; `most` limits are there already)."""
        ...

    async def list(self, target: LimitTarget | None) -> Sequence[RateLimit]:
        """By target and id."""
        ...

    async def remove(self, limit_id: str, by: Actor) -> bool:
        """Whether it was there."""
        ...


@dataclass(frozen=True, slots=True)
class LimitAdministration:
    """Checks what is asked. `providers` names those that are configured.

    Raises InvalidRequestError, NotFoundError and StorageUnavailableError.
    """

    records: RateLimitRecords
    providers: Callable[[], Collection[str]]

    async def set(self, limit: RateLimit, actor: Actor) -> RateLimit:
        """Makes it, or replaces the one of its id, and tells what holds then; without an id it is
        given one. In force on every instance within a second."""
        target = target_of(limit.target)
        _check_rates(limit)
        _check_notes(limit.metadata)
        if target.kind is TargetKind.PROVIDER and target.name not in self.providers():
            raise NotFoundError(f"There is no provider `{target.name[:MAX_NAME]}`.", param="target")
        kept = limit if limit.limit_id else replace(limit, limit_id=f"rl-{secrets.token_hex(8)}")
        if not _LIMIT_ID.fullmatch(kept.limit_id):
            raise _fault("limit_id", "must be letters, digits and `._:/-`, at most 128")
        await self.records.put(kept, target, MAX_LIMITS, actor)
        return kept

    async def list(self, target: str | None = None) -> Sequence[RateLimit]:
        """All, or those of one target; disabled ones too."""
        return await self.records.list(target_of(target) if target else None)

    async def remove(self, limit_id: str, actor: Actor) -> None:
        """Removes it, in force as `set` is."""
        if not await self.records.remove(limit_id, actor):
            raise NotFoundError("There is no rate limit of this id.", param="limit_id")


def target_of(text: str) -> LimitTarget:
    """Takes a target apart. Raises InvalidRequestError."""
    kind, colon, name = text.partition(":")
    if kind not in set(TargetKind) or (kind == TargetKind.GLOBAL) == bool(colon):
        raise _fault(
            "target",
            "must be key:ID-or-name, tenant:NAME, provider:NAME, model:NAME, route:ID or global",
        )
    if colon and not (1 <= len(name) <= MAX_NAME and name.isprintable()):
        raise _fault("target", f"must name something, in at most {MAX_NAME} printable characters")
    return LimitTarget(TargetKind(kind), name)


def _check_rates(limit: RateLimit) -> None:
    rates = {
        "requests_per_second": limit.per_second,
        "requests_per_minute": limit.per_minute,
        "requests_per_hour": limit.per_hour,
    }
    for param, number in {**rates, "burst_size": limit.burst}.items():
        if not 0 <= number <= MAX_RATE:
            raise _fault(param, f"must be from 0 to {MAX_RATE}; 0 is none")
    if not any(rates.values()):
        raise _fault("requests_per_minute", "or one a second or an hour must be set: 0 is no limit")


def _check_notes(notes: Mapping[str, str]) -> None:
    if len(notes) > MAX_NOTES:
        raise _fault("metadata", f"must be at most {MAX_NOTES}")
    if any(
        not 1 <= len(key) <= MAX_NOTE_KEY or len(note) > MAX_NOTE or "\0" in key + note
        for key, note in notes.items()
    ):
        raise _fault(
            "metadata", f"keys: 1 to {MAX_NOTE_KEY} characters, values: at most {MAX_NOTE}, no NUL"
        )


def _fault(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{param}` {what}.", param=param)
