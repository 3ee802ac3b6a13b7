"""What this instance served lately, slot by slot, in memory that does not grow."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.errors import Reason
from ailb_server.pipeline.record import ChatRecord
from ailb_server.routing.histogram import Histogram
from ailb_server.routing.snapshot import Quantiles

SLOT_S = 10.0
# Ten minutes.
SLOTS = 60
_MINUTE_SLOTS = 6
_OK = "ok"
_CANCELLED = "cancelled"
# The caller's part. Whatever is not among them is ours, or a provider's.
_REFUSED = frozenset(
    reason.value.lower()
    for reason in (
        Reason.PERMISSION_DENIED,
        Reason.INVALID_REQUEST,
        Reason.CONTEXT_LENGTH_EXCEEDED,
        Reason.MODEL_NOT_FOUND,
        Reason.RATE_LIMIT_EXCEEDED,
        Reason.BUDGET_EXCEEDED,
        Reason.UPSTREAM_REJECTED,
        Reason.NOT_FOUND,
        Reason.COLLECTION_NOT_FOUND,
        Reason.EMBEDDING_MISMATCH,
    )
)


@dataclass(frozen=True, slots=True)
class SlotSnapshot:
    """What ended within a slot; `start` is seconds since 1970.

    `requests` has in it `failed`, `refused` (the caller's fault, or its limits) and `cancelled` (it
    left). `latency` is of those that
    ended well, from arrival to end; `ttft` of those that were streamed.
    """

    start: float
    requests: int
    failed: int
    refused: int
    cancelled: int
    prompt_tokens: int
    completion_tokens: int
    cost_micro_dollars: int
    latency: Quantiles
    ttft: Quantiles


@dataclass(frozen=True, slots=True)
class TrafficSnapshot:
    """SLOTS slots, oldest first, and the newest of them as one, over `last_minute_s` seconds."""

    slots: Sequence[SlotSnapshot]
    last_minute: SlotSnapshot
    last_minute_s: float
    active: int
    slot_s: float = SLOT_S


@dataclass(slots=True)
class _Slot:
    number: int
    requests: int = 0
    failed: int = 0
    refused: int = 0
    cancelled: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_micro_dollars: int = 0
    latency: Histogram = field(default_factory=Histogram)
    ttft: Histogram = field(default_factory=Histogram)

    def add(self, other: "_Slot") -> None:
        """Makes of both one."""
        self.requests += other.requests
        self.failed += other.failed
        self.refused += other.refused
        self.cancelled += other.cancelled
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens
        self.cost_micro_dollars += other.cost_micro_dollars
        self.latency.add(other.latency)
        self.ttft.add(other.ttft)


class Traffic:
    """A `ChatObserver`. `wall` is the time of day, in seconds since 1970."""

    def __init__(self, wall: Callable[[], float] = time.time) -> None:
        self._wall = wall
        self._slots: dict[int, _Slot] = {}
        self._active = 0

    def chat_started(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        self._active += 1

    def chat_answered(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""

    def chat_finished(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        self._active -= 1
        slot = self._slot()
        slot.requests += 1
        if record.outcome == _OK:
            slot.latency.observe(record.total_s)
        elif record.outcome == _CANCELLED:
            slot.cancelled += 1
        elif record.outcome.lower() in _REFUSED:
            slot.refused += 1
        else:
            slot.failed += 1
        if record.stream and record.first_token_s is not None:
            slot.ttft.observe(record.first_token_s)
        if record.usage is not None:
            slot.prompt_tokens += record.usage.prompt
            slot.completion_tokens += record.usage.completion
        slot.cost_micro_dollars += record.cost_micro_dollars or 0

    def snapshot(self) -> TrafficSnapshot:
        """As it stands now."""
        now = self._wall()
        newest = int(now // SLOT_S)
        numbers = range(newest - SLOTS + 1, newest + 1)
        slots = [self._slots.get(number) or _Slot(number) for number in numbers]
        return TrafficSnapshot(
            slots=[_copy(slot) for slot in slots],
            last_minute=_copy(_together(slots[-_MINUTE_SLOTS:])),
            last_minute_s=(_MINUTE_SLOTS - 1) * SLOT_S + now % SLOT_S,
            active=self._active,
        )

    def _slot(self) -> _Slot:
        number = int(self._wall() // SLOT_S)
        slot = self._slots.get(number)
        if slot is None:
            # Whatever the clock does, there are never more.
            kept = range(number - SLOTS + 1, number + 1)
            self._slots = {n: s for n, s in self._slots.items() if n in kept}
            slot = self._slots[number] = _Slot(number)
        return slot


def _together(slots: Iterable[_Slot]) -> _Slot:
    first, *others = slots
    whole = _Slot(first.number)
    for slot in (first, *others):
        whole.add(slot)
    return whole


def _copy(slot: _Slot) -> SlotSnapshot:
    return SlotSnapshot(
        start=slot.number * SLOT_S,
        requests=slot.requests,
        failed=slot.failed,
        refused=slot.refused,
        cancelled=slot.cancelled,
        prompt_tokens=slot.prompt_tokens,
        completion_tokens=slot.completion_tokens,
        cost_micro_dollars=slot.cost_micro_dollars,
        latency=_quantiles(slot.latency),
        ttft=_quantiles(slot.ttft),
    )


def _quantiles(histogram: Histogram) -> Quantiles:
    return Quantiles(*(histogram.quantile(share) for share in (0.5, 0.95, 0.99)))
