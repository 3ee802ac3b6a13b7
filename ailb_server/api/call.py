"""The running call: what is known of it, and the errors that its edges make of it."""

import asyncio
import secrets
import string
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import field
from types import TracebackType
from typing import Any, TypeAlias

import grpc

from ailb_server.api.credentials import API_KEY_KEY, AUTHORIZATION_KEY, bearer
from ailb_server.domain.chat import Wire
from ailb_server.domain.errors import AilbError, Reason, ShuttingDownError
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.domain.value_object import value_object

REQUEST_ID_KEY = "x-request-id"
# Envoy's transcoder sets it, to the path with its query, on what was a REST call.
_TRANSCODED_KEY = "x-envoy-original-path"
_ANTHROPIC_PATHS = "/v1/messages"
_TRACE_KEYS = frozenset({"traceparent", "tracestate"})
_MAX_REQUEST_ID = 128
_REQUEST_ID_CHARACTERS = frozenset(string.ascii_letters + string.digits + "_.:/+=@-")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class Writing:
    """Whether a message or the headers of a call are being written. Cut in the middle they would be
    the last: no error could be told behind them. So a call that this server ends while it is `busy`
    is `spared`, and ends after that. `last`: what is to be written next is the last, most likely.
    """

    __slots__ = ("busy", "last", "spared")

    def __init__(self) -> None:
        self.busy = False
        self.last = False
        self.spared = False


@value_object
class Call:
    """Facts of the running call. `rest`: it came through Envoy's transcoder.

    `wire` is the format whose errors a REST caller expects. `interrupted` tells, within a cancelled
    call, whether it was this server that ended it. `principal` is on whose behalf it runs.
    `refused` is told the reason of an error that no stage of a request has seen: see `Refusals`.
    `trace` are the caller's headers of W3C Trace Context.
    """

    request_id: str
    rest: bool
    wire: Wire = "openai"
    interrupted: Callable[[], bool] = field(default=lambda: False, compare=False)
    principal: Principal = ANYONE
    refused: Callable[[str], None] = field(default=lambda _: None, compare=False)
    trace: Mapping[str, str] = field(default_factory=dict, compare=False)
    writing: Writing = field(default_factory=Writing, compare=False)


current_call: ContextVar[Call] = ContextVar("current_call")


class Refusals:
    """Around what comes before a request's first stage, which counts its own errors."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        """Nothing is refused yet."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, Exception):
            reason = error.reason if isinstance(error, AilbError) else Reason.INTERNAL_ERROR
            self._call.refused(reason.value.lower())


class Interruption:
    """Turns a cancellation by this server, not by the caller, into the error to be told."""

    __slots__ = ("_call",)

    def __init__(self, call: Call) -> None:
        self._call = call

    def __enter__(self) -> None:
        """It runs."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if isinstance(error, asyncio.CancelledError) and (told := interrupted(self._call)):
            raise told from None


def interrupted(call: Call) -> ShuttingDownError | None:
    """Within a cancelled call: what to tell if it was this server that ended it. Then it is not
    cancelled any more."""
    task = asyncio.current_task()
    if task is None or not call.interrupted():
        return None
    task.uncancel()
    return ShuttingDownError(
        "This instance ended before the answer did. Try again.", retry_after_s=1
    )


def arrival(
    context: Context,
    interrupted: Callable[[], bool] = lambda: False,
    refused: Callable[[str], None] = lambda _: None,
) -> tuple[Call, str | None]:
    """The call by its metadata, and the secret that it brings: a bearer token or a signature, else
    `x-api-key`.

    A missing or unfit request id is replaced by a new one.
    """
    request_id, path = "", ""
    trace: dict[str, str] = {}
    token: str | None = None
    api_key: str | None = None
    for key, value in context.invocation_metadata() or ():
        if key == REQUEST_ID_KEY and isinstance(value, str):
            request_id = value
        elif key == _TRANSCODED_KEY:
            path = str(value)
        elif key == AUTHORIZATION_KEY and isinstance(value, str):
            token = bearer(value) or token
        elif key == API_KEY_KEY and isinstance(value, str):
            api_key = value.strip() or api_key
        elif key in _TRACE_KEYS and isinstance(value, str):
            trace[key] = value
    if not request_id or not _fit(request_id):
        request_id = secrets.token_hex(16)
    wire: Wire = "anthropic" if path.startswith(_ANTHROPIC_PATHS) else "openai"
    call = Call(request_id, bool(path), wire, interrupted, refused=refused, trace=trace)
    return call, token or api_key


def on_behalf_of(call: Call, principal: Principal) -> Call:
    """The call, once it is known whose it is."""
    # `replace` costs four times as much, on every call.
    return Call(
        call.request_id,
        call.rest,
        call.wire,
        call.interrupted,
        principal,
        call.refused,
        call.trace,
        call.writing,
    )


def _fit(request_id: str) -> bool:
    return len(request_id) <= _MAX_REQUEST_ID and _REQUEST_ID_CHARACTERS.issuperset(request_id)
