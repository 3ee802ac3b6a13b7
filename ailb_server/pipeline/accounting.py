"""Turns chat records into rows of the usage ledger."""

import random
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import Reason
from ailb_server.domain.usage import UsageEntry
from ailb_server.pipeline.record import ChatRecord

MAX_TEXT = 256
_MS = 1000.0
_NO_USAGE = TokenUsage()
# Whoever is over a limit, or comes while its twin runs, is told so without a row: a flood of
# refusals would be a flood of rows.
_REFUSALS = frozenset(
    reason.value.lower()
    for reason in (
        Reason.INVALID_API_KEY,
        Reason.RATE_LIMIT_EXCEEDED,
        Reason.BUDGET_EXCEEDED,
        Reason.IDEMPOTENCY_CONFLICT,
    )
)


class Ledger(Protocol):
    """Where rows go."""

    def record(self, entry: UsageEntry) -> None:
        """Keeps it. Does not block and does not raise."""
        ...


class Accounting:
    """A `ChatObserver` that keeps one row for each chat.

    `own`: the chats are AILB's own (embeddings for memory and knowledge), and of no tenant.
    `instance` is MODULE_ID; `clock` tells seconds since 1970.
    """

    def __init__(
        self,
        ledger: Ledger,
        instance: str,
        *,
        own: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._instance = instance
        self._own = own
        self._clock = clock
        # Seeded by the system, whose own would be a call to the kernel each time. No secret.
        self._random = random.Random()  # noqa: S311

    def chat_started(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""

    def chat_answered(self, record: ChatRecord) -> None:
        """Before the caller has the end: then a row is there for whoever has it."""
        self._book(record)

    def chat_finished(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        if not record.booked and record.outcome not in _REFUSALS:
            self._book(record)

    def _book(self, record: ChatRecord) -> None:
        record.booked = True
        now, target, who = self._clock(), record.target, record.who
        told, usage = record.usage is not None, record.usage or _NO_USAGE
        first_s = record.first_token_s if record.stream else None
        entry = UsageEntry(
            id=_new_id(now, self._random.getrandbits(74)),
            at=datetime.fromtimestamp(now, UTC).isoformat(),
            tenant_id=None if self._own else who.tenant_id,
            key_id=who.key_id,
            request_id=_text(record.request_id),
            session_id=_text(record.session_id),
            operation=record.operation.value,
            streamed=record.stream,
            provider=_text(target.provider) if target else "",
            model_asked=_text(record.model_asked),
            model_sent=_text(target.model) if target else "",
            model_answered=_text(record.model_answered),
            prompt_tokens=usage.prompt if told else None,
            cached_tokens=usage.cached if told else None,
            cache_write_tokens=usage.cache_write if told else None,
            completion_tokens=usage.completion if told else None,
            reasoning_tokens=usage.reasoning if told else None,
            estimated=record.estimated,
            cost_micro_dollars=record.cost_micro_dollars,
            latency_ms=round(record.total_s * _MS, 3),
            first_token_ms=None if first_s is None else round(first_s * _MS, 3),
            outcome=record.outcome,
            finish_reason=_text(record.finish_reason),
            instance=self._instance,
            served_from=record.served_from or None,
            settlements=record.settlements,
        )
        self._ledger.record(entry)


def _text(text: str) -> str:
    # Others' words: of any length, and Postgres has no NUL.
    return text[:MAX_TEXT].replace("\0", "")


def _new_id(now: float, chance: int) -> str:
    """A UUID of version 7 (RFC 9562, 5.7), so that rows of one time are together in the index;
    of `chance` 74 bits."""
    high = (int(now * _MS) << 16) | 0x7000 | (chance >> 62)
    return f"{high << 64 | 0b10 << 62 | (chance & (2**62 - 1)):032x}"
