"""Spans of a trace, for whoever has something to tell. Without tracing all of it is a None check.

No prompt, no answer and no secret goes into a span's name or attributes, nor does an error's text:
it may quote them.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Literal, Protocol, TypeAlias

from ailb_server.domain.errors import AilbError

Value: TypeAlias = str | bool | int | float | Sequence[str]
Kind: TypeAlias = Literal["internal", "server", "client"]

CANCELLED = "cancelled"


class Span(Protocol):
    """Something that lasts, within a trace. `end` is to be called once; what is told after it is
    lost."""

    def tell(self, attributes: Mapping[str, Value]) -> None:
        """Adds attributes."""
        ...

    def fail(self, reason: str) -> None:
        """It has failed. `reason` is of a closed set, and no text of others."""
        ...

    def child(self, name: str, kind: Kind = "internal", *, ago_s: float = 0.0) -> "Span":
        """A span within it that begins now, or began so many seconds ago."""
        ...

    def headers(self) -> Mapping[str, str]:
        """`traceparent` and `tracestate` (W3C Trace Context) for a request made within it."""
        ...

    def end(self) -> None:
        """It is over."""
        ...

    @property
    def trace_id(self) -> str:
        """32 hexadecimal digits."""
        ...


class Tracer(Protocol):
    """Where traces begin."""

    def serve(self, name: str, headers: Mapping[str, str]) -> Span:
        """A call's span: within the caller's trace if `headers` names one, else of a new trace."""
        ...


# The innermost span of what runs.
current: ContextVar[Span | None] = ContextVar("current_span", default=None)


class Within:
    """A span around a block, the current one in it. Entering gives the span, None without a trace.

    To be left in the context that it was entered in: not around a generator's `yield`.
    """

    __slots__ = ("_kind", "_name", "_span", "_token")

    def __init__(self, name: str, kind: Kind = "internal") -> None:
        self._name = name
        self._kind: Kind = kind
        self._span: Span | None = None
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> Span | None:
        parent = current.get()
        if parent is not None:
            self._span = parent.child(self._name, self._kind)
            self._token = current.set(self._span)
        return self._span

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._span is None or self._token is None:
            return
        current.reset(self._token)
        if error is not None:
            self._span.fail(reason_of(error))
        self._span.end()


class Current:
    """What is told within the block is told of this span. The span goes on after it."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: Span | None) -> None:
        self._span = span
        self._token: Token[Span | None] | None = None

    def __enter__(self) -> None:
        if self._span is not None:
            self._token = current.set(self._span)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._token is not None:
            current.reset(self._token)


def reason_of(error: BaseException) -> str:
    """An error as one word of a closed set."""
    if isinstance(error, AilbError):
        return error.reason.value.lower()
    # asyncio's and the generators' ways of saying that somebody left.
    return type(error).__name__ if isinstance(error, Exception) else CANCELLED
