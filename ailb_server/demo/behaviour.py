"""How one request is to be answered, and the wishes (the field `demo`) that change it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Final

import orjson

from ailb_server.demo.errors import ApiError

MAX_WAIT_MS: Final = 60_000
MAX_WORDS: Final = 20_000
MAX_CALLS: Final = 16

FAULTS: Final = frozenset(
    {
        "reset",
        "close",
        "stall",
        "stall_headers",
        "stall_late",
        "cut",
        "eof",
        "malformed",
        "malformed_late",
        "error_in_200",
        "error_late",
        "empty",
        "html",
        "split",
        "crlf",
        "comments",
        "no_space",
        "usage_with_choices",
    }
)
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})
_USAGE: Final = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "cache_write_tokens",
        "reasoning_tokens",
    }
)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One request's behaviour: the wishes of docs/demo-provider.md, and what only models have.

    Times are milliseconds; `after` counts a stream's events from 1; `words` None keeps the
    answer as it is.
    """

    latency_ms: float = 0.0
    chunk_ms: float = 0.0
    chunks_per_write: int = 1
    words: int | None = None
    status: int = 200
    error_body: bytes | None = None
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: str | None = None
    after: int = 2
    tool_calls: int = 1
    usage: Mapping[str, int] = field(default_factory=dict)
    echo: bool = False
    eager_tools: bool = False

    @property
    def fails(self) -> bool:
        """The wished status is an error's."""
        return self.status >= HTTPStatus.BAD_REQUEST


def adjust(base: Behaviour, wishes: object) -> Behaviour:
    """`base` changed by a `demo` object. A misspelt or impossible wish is a 400, so that a
    test never passes because its fault was silently ignored."""
    if not isinstance(wishes, Mapping):
        raise _invalid("demo", "an object")
    changes: dict[str, Any] = {}
    for key, value in wishes.items():
        check = _CHECKS.get(key)
        if check is None:
            raise _invalid(f"demo.{key}", "one of " + ", ".join(_CHECKS))
        changes[key] = check(f"demo.{key}", value)
    return replace(base, **changes)


def _invalid(param: str, expected: str) -> ApiError:
    message = f"Invalid '{param}': expected {expected}."
    return ApiError(400, message, param=param, code="invalid_value")


def _number(low: float, high: float) -> Callable[[str, object], float]:
    def check(param: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid(param, f"a number from {low} to {high}")
        if not low <= value <= high:
            raise _invalid(param, f"a number from {low} to {high}")
        return value

    return check


def _integer(low: int, high: int) -> Callable[[str, object], int]:
    def check(param: str, value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _invalid(param, f"an integer from {low} to {high}")
        # gRPC callers send a google.protobuf.Struct, which knows doubles only.
        if value != int(value) or not low <= value <= high:
            raise _invalid(param, f"an integer from {low} to {high}")
        return int(value)

    return check


def _status(param: str, value: object) -> int:
    status = _integer(200, 599)(param, value)
    if HTTPStatus.OK < status < HTTPStatus.BAD_REQUEST:
        raise _invalid(param, "200 or an error's status, 400 to 599")
    return status


def _fault(param: str, value: object) -> str | None:
    if value is None or (isinstance(value, str) and value in FAULTS):
        return value
    raise _invalid(param, "one of " + ", ".join(sorted(FAULTS)))


def _raw(_param: str, value: object) -> bytes:
    return value.encode() if isinstance(value, str) else orjson.dumps(value)


def _headers(param: str, value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise _invalid(param, "an object of strings")
    for name, text in value.items():
        if not isinstance(text, str) or any(c in "\r\n\0" for c in name + text):
            raise _invalid(f"{param}.{name}", "a string on one line")
        if name.lower() in _FRAMING:
            raise _invalid(f"{param}.{name}", "no framing header; use a fault")
    return dict(value)


def _usage(param: str, value: object) -> dict[str, int]:
    if not isinstance(value, Mapping) or not _USAGE.issuperset(value):
        raise _invalid(param, "an object of " + ", ".join(sorted(_USAGE)))
    count = _integer(0, 1_000_000_000)
    return {name: count(f"{param}.{name}", tokens) for name, tokens in value.items()}


_CHECKS: Final[Mapping[str, Callable[[str, object], object]]] = {
    "latency_ms": _number(0, MAX_WAIT_MS),
    "chunk_ms": _number(0, MAX_WAIT_MS),
    "chunks_per_write": _integer(1, MAX_WORDS),
    "words": _integer(1, MAX_WORDS),
    "status": _status,
    "error_body": _raw,
    "body": _raw,
    "headers": _headers,
    "fault": _fault,
    "after": _integer(0, MAX_WORDS),
    "tool_calls": _integer(1, MAX_CALLS),
    "usage": _usage,
}
