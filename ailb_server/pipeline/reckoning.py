"""What one chat comes to: settled once, and before its caller has the end of the answer."""

import time
from dataclasses import dataclass

from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatChunk
from ailb_server.pipeline.context import is_last
from ailb_server.pipeline.record import ChatObserver, ChatRecord


@dataclass(frozen=True, slots=True)
class Reckoning:
    """The record, the admission and the observer of one chat."""

    record: ChatRecord
    admitted: Admitted
    observer: ChatObserver

    def saw(self, chunk: ChatChunk) -> None:
        """A piece of the answer, before it is passed on."""
        self.record.saw(chunk)
        self.admitted.saw(chunk)
        # What a caller was told the end of must not be lost with this process.
        if not self.record.stream or is_last(chunk):
            self.ended()
            self.settle()
            self.record.total_s = time.perf_counter() - self.record.started
            self.observer.chat_answered(self.record)

    def ended(self) -> None:
        """That was all of it."""
        self.record.whole = True
        self.admitted.ended()

    def settle(self) -> None:
        """It is over, in whatever way. May be repeated."""
        record = self.record
        if record.settled is None:
            record.settled = self.admitted.settle(record.target)
            if record.target is not None:
                record.usage, record.estimated = record.settled.usage, record.settled.estimated
