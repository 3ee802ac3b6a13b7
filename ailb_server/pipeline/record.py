"""What is known of one chat when it ends."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, Operation, TokenUsage
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.limits import Settlement
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.target import Target
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.routing.decisions import Decision
from ailb_server.telemetry.instruments import Buckets
from ailb_server.telemetry.request_metrics import PAUSE_SECONDS


@dataclass(slots=True)
class ChatRecord:
    """Filled as the request walks. `outcome` is `ok`, `cancelled` or an error's reason.

    Seconds; `started` is of `time.perf_counter`, `overhead_s` is what AILB added before the first
    byte, `first_token_s` counts from the request's arrival. `usage` is None if no answer began, and
    `estimated` as far as the provider did not tell it: from the `events` seen.
    `cost_micro_dollars` is what it cost; None if nobody knows. `whole`: the answer came to its end.
    `model_answered` and `finish_reason` are the provider's words, empty if it said none, and of the
    first choice. `settlements`: what its row in the usage ledger tells budgets. `booked`: the
    ledger has it. `served_from`: `cache`, or `replay` (of what an Idempotency-Key had been
    answered), if no provider was asked; empty else. `phases` are what phases before the request was
    sent on took, by name; `pauses` those within a stream; `decision` is how it was routed.
    """

    model_asked: str
    stream: bool
    outcome: str = "ok"
    target: Target | None = None
    usage: TokenUsage | None = None
    estimated: bool = False
    cost_micro_dollars: int | None = None
    events: int = 0
    whole: bool = False
    overhead_s: float | None = None
    first_token_s: float | None = None
    total_s: float = 0.0
    who: Principal = ANYONE
    request_id: str = ""
    session_id: str = ""
    operation: Operation = Operation.CHAT
    model_answered: str = ""
    finish_reason: str = ""
    started: float = field(default_factory=time.perf_counter)
    settlements: Sequence[Settlement] = ()
    booked: bool = False
    served_from: str = ""
    decision: Decision | None = None
    phases: dict[str, float] = field(default_factory=dict)
    pauses: Buckets | None = None
    _seen_at: float = 0.0

    def saw(self, chunk: ChatChunk) -> None:
        """Notes what a piece of the answer tells of it."""
        self.usage = chunk.usage or self.usage
        if self.stream:
            self._pause()
        self.events += len(chunk.events)
        for event in chunk.events:
            if not self.model_answered and isinstance(model := event.get("model"), str):
                self.model_answered = model
            choices = event.get("choices")
            if isinstance(choices, list) and choices:
                self.finish_reason = _finish(choices) or self.finish_reason

    def _pause(self) -> None:
        # Once for each of the provider's writes: half a microsecond, where a metric takes several.
        now = time.perf_counter()
        if self._seen_at:
            if self.pauses is None:
                self.pauses = Buckets(PAUSE_SECONDS)
            self.pauses.observe(now - self._seen_at)
        self._seen_at = now


def record_of(request: ChatRequest, wishes: CallWishes) -> ChatRecord:
    """A record of a chat that begins."""
    told = request.fields.get("session_id") if "session_id" in request.own_fields else None
    return ChatRecord(
        request.model,
        request.stream,
        who=wishes.who,
        request_id=wishes.request_id,
        session_id=told if isinstance(told, str) else wishes.session_id or "",
        operation=request.operation,
    )


class Recorded:
    """Around a chat: tells the observer of its beginning, and of its end, in whatever way. Entering
    gives the time of `time.perf_counter`."""

    __slots__ = ("_observer", "_record", "_started")

    def __init__(self, record: ChatRecord, observer: "ChatObserver") -> None:
        self._record = record
        self._observer = observer
        self._started = 0.0

    def __enter__(self) -> float:
        self._started = time.perf_counter()
        self._observer.chat_started(self._record)
        return self._started

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        record = self._record
        if isinstance(error, AilbError):
            record.outcome = error.reason.value.lower()
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            record.outcome = "cancelled"
        elif error is not None:
            record.outcome = Reason.INTERNAL_ERROR.value.lower()
        record.total_s = time.perf_counter() - self._started
        self._observer.chat_finished(record)


class ChatObserver(Protocol):
    """Who is told of each chat."""

    def chat_started(self, record: ChatRecord) -> None:
        """A chat enters."""
        ...

    def chat_answered(self, record: ChatRecord) -> None:
        """The end of the answer is known and will be told to the caller next; `total_s` is the time
        until now. Only of answers that have a recognisable end. Must not block and must not raise.
        """
        ...

    def chat_finished(self, record: ChatRecord) -> None:
        """A chat has ended, in whatever way. Must not block and must not raise."""
        ...


@dataclass(frozen=True, slots=True)
class Observers:
    """Several as one."""

    observers: Sequence[ChatObserver]

    def chat_started(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        for observer in self.observers:
            observer.chat_started(record)

    def chat_answered(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        for observer in self.observers:
            observer.chat_answered(record)

    def chat_finished(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        for observer in self.observers:
            observer.chat_finished(record)


def _finish(choices: Sequence[Json]) -> str:
    for choice in choices:
        # Of a provider's JSON nothing is sure.
        if isinstance(choice, dict) and choice.get("index") in (0, None):
            reason = choice.get("finish_reason")
            return reason if isinstance(reason, str) else ""
    return ""
