"""What one chat comes to: settled once, and before its caller has the end of the answer."""

import time
from dataclasses import dataclass, replace

from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatChunk, TokenUsage, is_last
from ailb_server.pipeline.answer_span import answered
from ailb_server.pipeline.record import ChatObserver, ChatRecord
from ailb_server.routing.dispatcher import Answer
from ailb_server.routing.facts import BYTES_PER_TOKEN, RequestFacts
from ailb_server.spend.reservation import Pricing
from ailb_server.telemetry.tracing import Within


@dataclass(slots=True)
class Reckoning:
    """Tells the record, limits and budgets, the observer and routing the same usage and cost."""

    record: ChatRecord
    admitted: Admitted
    observer: ChatObserver
    pricing: Pricing
    _answer: Answer | None = None
    _facts: RequestFacts | None = None
    _told: bool = False
    _settled: bool = False

    def began(self, answer: Answer, facts: RequestFacts | None) -> None:
        """A target answers the request of these facts; without them, the cache does."""
        self._answer, self._facts = answer, facts
        self.record.target = answer.target
        if facts is None:
            self.record.served_from = "cache"

    def saw(self, chunk: ChatChunk) -> None:
        """A piece of the answer, before it is passed on."""
        if self._settled:
            return
        self.record.saw(chunk)
        # What a caller was told the end of must not be lost with this process.
        if is_last(chunk, stream=self.record.stream):
            self.ended()
            self.settle()
            self.record.total_s = time.perf_counter() - self.record.started
            self.observer.chat_answered(self.record)

    def ended(self) -> None:
        """That was all of it."""
        self.record.whole = True

    def tell(self) -> None:
        """Nothing more will come of the answer: routing learns what it took. May be repeated."""
        if self._told or self._answer is None or self._facts is None:
            return
        self._told = True
        record, told = self.record, self.record.usage
        usage = record.usage = self._usage(self._answer, self._facts)
        record.estimated = usage is not told
        cost = self.pricing.cost_if_known(usage, self._answer.target.price)
        record.cost_micro_dollars = cost
        self._answer.used(usage, cost, whole=record.whole)
        if self._answer.span is not None:
            self._answer.span.tell(answered(record, self._answer))

    def settle(self) -> None:
        """It is over, in whatever way. May be repeated.

        The observer is told next, and nobody waits in between: a kill there would leave budgets
        that have paid for what the usage ledger has not.
        """
        if self._settled:
            return
        self._settled = True
        with Within("settle"):
            self.tell()
            record = self.record
            if record.served_from:
                # What the answer tells of tokens was paid for by the request that got it first.
                record.usage, record.cost_micro_dollars = TokenUsage(), 0
            record.settlements = self.admitted.settle(record.target, record.usage)

    def _usage(self, answer: Answer, facts: RequestFacts) -> TokenUsage:
        """What was seen is owed, though its provider did not come to tell how much it was."""
        record, told = self.record, self.record.usage
        if told is None:
            text = 0 if record.stream else len(answer.first.wire) // BYTES_PER_TOKEN
            return facts.usage_of(max(record.events, text))
        if not record.whole and record.events > told.completion:
            return replace(told, completion=facts.usage_of(record.events).completion)
        return told
