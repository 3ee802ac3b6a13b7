"""One line for each request: what it was, who answered, what it took. Never what was said."""

import logging
import random
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from ailb_server.domain.principal import Principal
from ailb_server.domain.value_object import value_object
from ailb_server.pipeline.record import ChatRecord
from ailb_server.telemetry import logs

# Others' words are clipped.
_MAX_NAME = 128
_MS = 1000
_MICRO = 1_000_000
_BAD = 400

_log = logging.getLogger(logs.ACCESS)

# Of the call that runs; the edge, around it, writes the line.
_walked: ContextVar[ChatRecord | None] = ContextVar("walked", default=None)


@value_object
class CallEnd:
    """A call's end, as the edge sees it. `status` is HTTP's, whether it came by HTTP or not;
    `outcome` is `ok`, `cancelled` or an error's reason."""

    method: str
    status: int
    outcome: str
    seconds: float
    who: Principal


@dataclass(frozen=True, slots=True)
class AccessLog:
    """A `ChatObserver` for the pipeline of callers, and told of each call's end by the edge.

    `sample` is the share of the calls without an error that are told (0 to 1); errors always are.
    """

    sample: float
    chance: Callable[[], float] = field(default=random.random)

    def chat_started(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""
        _walked.set(record)

    def chat_answered(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""

    def chat_finished(self, record: ChatRecord) -> None:
        """See `ChatObserver`."""

    def called(self, end: CallEnd) -> None:
        """The call is over."""
        if end.status < _BAD and self.chance() >= self.sample:
            return
        if _log.isEnabledFor(logging.INFO):
            record = _walked.get()
            fields = {**_of_call(end), **(_of_chat(record) if record is not None else {})}
            _log.info("call", extra={"fields": fields})


def _of_call(end: CallEnd) -> dict[str, Any]:
    return {
        "method": end.method.rpartition(".")[2],
        "status": end.status,
        "outcome": end.outcome,
        "latency_ms": round(end.seconds * _MS, 2),
        "tenant": end.who.tenant,
        "key": end.who.name[:_MAX_NAME],
        "key_id": end.who.key_id,
    }


def _of_chat(record: ChatRecord) -> dict[str, Any]:
    target, usage, cost = record.target, record.usage, record.cost_micro_dollars
    first_s = record.first_token_s if record.stream else None
    return {
        "operation": record.operation.value,
        "stream": record.stream,
        # A name that nobody serves may be any text.
        "model": record.model_asked[:_MAX_NAME] if record.decision or target else None,
        "provider": target.provider if target else None,
        "model_sent": target.model if target else None,
        "ttft_ms": None if first_s is None else round(first_s * _MS, 2),
        "prompt_tokens": usage.prompt if usage else None,
        "completion_tokens": usage.completion if usage else None,
        "cost_dollars": None if cost is None else cost / _MICRO,
        "finish_reason": record.finish_reason[:_MAX_NAME],
        **_of_routing(record),
    }


def _of_routing(record: ChatRecord) -> dict[str, Any]:
    decision = record.decision
    if decision is None:
        return {}
    tried = [f"{t.target.provider}/{t.target.model}: {t.outcome}" for t in decision.tried]
    return {
        "strategy": decision.strategy,
        "attempts": len(tried),
        # One that answered at once tells nothing more.
        "tried": tried if len(tried) > 1 or record.target is None else None,
    }
