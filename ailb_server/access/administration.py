"""What is done to keys: made, changed, rotated, revoked."""

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from ailb_server.access.secret import Digester, new_secret
from ailb_server.domain.api_key import ApiKey, KeyQuery, KeyTerms, NewKey, Secret
from ailb_server.domain.audit import Actor
from ailb_server.domain.errors import InvalidRequestError, NotFoundError
from ailb_server.domain.principal import KeyLimits

DEFAULT_GRACE_S = 86_400
MAX_GRACE_S = 30 * 86_400
MAX_PATTERNS = 100
MAX_PATTERN = 256
MAX_NAME = 128
MAX_NOTES = 32
MAX_NOTE_KEY = 64
MAX_NOTE = 512
MAX_LIMIT = 1_000_000_000
MAX_BUDGET_USD = 1_000_000_000
MICRO = 1_000_000
MAX_ID = 2**31 - 1
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}")

Change = Callable[[KeyTerms], KeyTerms]


class KeyRecords(Protocol):
    """Where keys are kept; every change with its row in the audit log. Raises
    StorageUnavailableError; a key that is not there is None."""

    async def create(self, new: NewKey, secret: Secret, by: Actor) -> ApiKey:
        """Makes a key, and its tenant if that is missing."""
        ...

    async def get(self, key_id: int) -> ApiKey | None:
        """One key."""
        ...

    async def list(self, query: KeyQuery) -> Sequence[ApiKey]:
        """By id."""
        ...

    async def update(self, key_id: int, change: Change, by: Actor) -> ApiKey | None:
        """Changes a key's terms; nobody else changes them meanwhile."""
        ...

    async def rotate(self, key_id: int, secret: Secret, grace_s: float, by: Actor) -> ApiKey | None:
        """Replaces a key's secret. Raises InvalidRequestError for a revoked key."""
        ...

    async def revoke(self, key_id: int, by: Actor) -> ApiKey | None:
        """Takes a key back, if it is not already."""
        ...


@dataclass(frozen=True, slots=True)
class KeyAdministration:
    """Checks what is asked, and makes secrets. Raises InvalidRequestError and NotFoundError."""

    records: KeyRecords
    digester: Digester
    wall: Callable[[], float] = time.time

    async def create(self, new: NewKey, by: Actor) -> tuple[ApiKey, str]:
        """The key and its secret."""
        if not _TENANT.fullmatch(new.tenant):
            raise _fault("tenant", "must be letters, digits, `.`, `_` and `-`, at most 64")
        self._check(new.terms)
        secret = new_secret()
        return await self.records.create(new, self.digester.kept(secret), by), secret

    async def get(self, key_id: int) -> ApiKey:
        """One key."""
        return _found(await self.records.get(_number(key_id)))

    async def list(self, query: KeyQuery) -> Sequence[ApiKey]:
        """By id."""
        return await self.records.list(query)

    async def update(self, key_id: int, change: Change, by: Actor) -> ApiKey:
        """The key as it is then."""

        def checked(terms: KeyTerms) -> KeyTerms:
            changed = change(terms)
            # An end that has passed must not forbid to change what else there is.
            self._check(replace(changed, expires_at=None) if _same_end(terms, changed) else changed)
            return changed

        return _found(await self.records.update(_number(key_id), checked, by))

    async def rotate(self, key_id: int, grace_s: float, by: Actor) -> tuple[ApiKey, str]:
        """The key and its new secret."""
        if not 0 <= grace_s <= MAX_GRACE_S:
            raise _fault("grace_seconds", f"must be at most {MAX_GRACE_S}")
        secret = new_secret()
        kept = self.digester.kept(secret)
        return _found(await self.records.rotate(_number(key_id), kept, grace_s, by)), secret

    async def revoke(self, key_id: int, by: Actor) -> ApiKey:
        """The key as it is then."""
        return _found(await self.records.revoke(_number(key_id), by))

    def _check(self, terms: KeyTerms) -> None:
        if not 1 <= len(terms.name.strip()) <= len(terms.name) <= MAX_NAME or not _plain(
            (terms.name,)
        ):
            raise _fault("name", f"must be 1 to {MAX_NAME} printable characters")
        _check_patterns("allowed_models", terms.allowed_models)
        _check_patterns("allowed_collections", terms.allowed_collections)
        check_limits(terms.limits)
        _check_notes(terms.metadata)
        if terms.expires_at is not None and terms.expires_at <= self.wall():
            raise _fault("expires_at", "must be in the future")


def _check_patterns(param: str, patterns: Sequence[str]) -> None:
    if len(patterns) > MAX_PATTERNS:
        raise _fault(param, f"must be at most {MAX_PATTERNS}")
    if any(not 1 <= len(p) <= MAX_PATTERN or "[" in p for p in patterns) or not _plain(patterns):
        raise _fault(
            param,
            f"must each be 1 to {MAX_PATTERN} characters, of which only * and ? are wildcards",
        )


def check_limits(limits: KeyLimits) -> None:
    """Raises InvalidRequestError for what cannot be a limit of a key or tenant."""
    rates = {
        "requests_per_minute": limits.requests_per_minute,
        "tokens_per_minute": limits.tokens_per_minute,
        "max_concurrent": limits.max_concurrent,
    }
    for param, rate in rates.items():
        if rate is not None and not 1 <= rate <= MAX_LIMIT:
            raise _fault(param, f"must be from 1 to {MAX_LIMIT}")
    budget = limits.monthly_budget_micro_dollars
    if budget is not None and not 0 <= budget <= MAX_BUDGET_USD * MICRO:
        raise _fault("monthly_budget_usd", f"must be from 0 to {MAX_BUDGET_USD}")


def _check_notes(notes: Mapping[str, str]) -> None:
    if len(notes) > MAX_NOTES:
        raise _fault("metadata", f"must be at most {MAX_NOTES}")
    if any(
        not 1 <= len(key) <= MAX_NOTE_KEY or len(note) > MAX_NOTE for key, note in notes.items()
    ):
        raise _fault(
            "metadata", f"keys: 1 to {MAX_NOTE_KEY} characters, values: at most {MAX_NOTE}"
        )
    if any("\0" in text for pair in notes.items() for text in pair):
        raise _fault("metadata", "must not contain NUL")


def _plain(texts: Iterable[str]) -> bool:
    return all(text.isprintable() for text in texts)


def _same_end(one: KeyTerms, other: KeyTerms) -> bool:
    return one.expires_at == other.expires_at


def _fault(param: str, what: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{param}` {what}.", param=param)


def _number(key_id: int) -> int:
    # What no row can have, the store would refuse as a fault of ours.
    if key_id > MAX_ID:
        raise _missing()
    return key_id


def _found(key: ApiKey | None) -> ApiKey:
    if key is None:
        raise _missing()
    return key


def _missing() -> NotFoundError:
    return NotFoundError("There is no key of this number.", param="id")
