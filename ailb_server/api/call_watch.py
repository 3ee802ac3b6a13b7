"""Watches calls from the edge: their traces, their lines in the access log."""

import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Protocol

from ailb_server.api import errors
from ailb_server.domain.errors import AilbError, Reason
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.pipeline.access_log import CallEnd
from ailb_server.telemetry import tracing
from ailb_server.telemetry.tracing import CANCELLED, Span, Tracer

OK = "ok"
# nginx's for a caller who left before the answer.
_LEFT = 499
_UNKNOWN = 500


class Accesses(Protocol):
    """Who is told of each call's end."""

    def called(self, end: CallEnd) -> None:
        """Must not block and must not raise."""
        ...


@dataclass(slots=True)
class Watched:
    """A call that runs. `began` is of `time.perf_counter`, `outcome` what it came to so far, `who`
    its caller, once that is known. Not `told`, nobody is to be told of it."""

    method: str
    told: bool
    began: float
    span: Span | None = None
    who: Principal = ANYONE
    outcome: str = OK


_running: ContextVar[Watched | None] = ContextVar("running_call", default=None)


@dataclass(frozen=True, slots=True)
class CallWatch:
    """Each part is optional. `authenticated` is told the seconds that a key took which was not in
    the cache."""

    tracer: Tracer | None = None
    accesses: Accesses | None = None
    authenticated: Callable[[float], None] = lambda _: None

    def begin(
        self, method: str, request_id: str, headers: Mapping[str, str], *, told: bool
    ) -> Watched:
        """A call comes in. With a tracer, its span becomes the current one."""
        watched = Watched(method, told, time.perf_counter())
        _running.set(watched)
        if told and self.tracer is not None:
            name = method.removeprefix("/")
            span = watched.span = self.tracer.serve(name, headers)
            facts = {"rpc.system.name": "grpc", "rpc.method": name, "ailb.request.id": request_id}
            span.tell(facts)
            tracing.current.set(span)
        return watched

    def end(self, watched: Watched) -> None:
        """It is over."""
        outcome, who = watched.outcome, watched.who
        if watched.told and self.accesses is not None:
            seconds = time.perf_counter() - watched.began
            end = CallEnd(watched.method, _status(outcome), outcome, seconds, who)
            self.accesses.called(end)
        if watched.span is not None:
            watched.span.tell({"ailb.tenant.name": who.tenant, "ailb.outcome": outcome})
            if outcome != OK:
                watched.span.fail(outcome)
            watched.span.end()


def told_of(failure: AilbError) -> AilbError:
    """The failure, which a servicer answers with by itself: the running call's outcome."""
    watched = _running.get()
    if watched is not None:
        watched.outcome = failure.reason.value.lower()
    return failure


def _status(outcome: str) -> int:
    """As REST callers would be told it."""
    if outcome == OK:
        return 200
    if outcome == CANCELLED:
        return _LEFT
    try:
        return errors.TABLE[Reason(outcome.upper())].http
    except (ValueError, KeyError):
        return _UNKNOWN
