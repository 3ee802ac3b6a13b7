"""Turns chat records into metrics."""

from ailb_server.pipeline.record import ChatRecord
from ailb_server.telemetry.metrics import Metrics


class Metering:
    """A `ChatObserver` that counts."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def chat_started(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        self._metrics.active.inc()
        self._metrics.vitals.began(stream=record.stream)

    def chat_answered(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""

    def chat_finished(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        metrics, target = self._metrics, record.target
        metrics.active.dec()
        metrics.vitals.ended(record.outcome, record.total_s, stream=record.stream)
        metrics.ended(target, record.outcome, record.total_s)
        if record.overhead_s is not None:
            metrics.overhead(record.overhead_s)
        if target is None:
            return
        if record.stream and record.first_token_s is not None:
            metrics.first_token(target, record.first_token_s)
        if record.usage is not None:
            metrics.used(target, record.usage, record.cost_micro_dollars or 0)
