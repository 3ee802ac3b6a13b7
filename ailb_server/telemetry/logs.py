"""Log lines: JSON for machines, text for a terminal. No prompt, no answer, no secret."""

import logging
import sys
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TextIO

import orjson
from typing_extensions import override

from ailb_server.telemetry import tracing
from ailb_server.telemetry.log_output import FloodGate, LogOutput

LogFormat = Literal["json", "text"]
LEVELS = ("debug", "info", "warning", "error")
ACCESS = "ailb_server.access_log"

_OWN = "ailb_server"

request_id: ContextVar[str] = ContextVar("request_id", default="")


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, request_id, trace_id, error,
    the record's own `fields`, and those of every line; `live` are asked for each."""

    def __init__(self, fields: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self._fields = dict(fields or {})
        self.live: dict[str, Callable[[], object]] = {}

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": getattr(record, "request_id", request_id.get()),
            "trace_id": getattr(record, "trace_id", ""),
            "error": record.exc_text or self._formatted(record),
            **_fields(record),
            **self._fields,
            **{name: read() for name, read in self.live.items()},
        }
        told = {name: value for name, value in line.items() if value not in ("", None)}
        return orjson.dumps(told, default=str).decode()

    def _formatted(self, record: logging.LogRecord) -> str:
        return self.formatException(record.exc_info) if record.exc_info else ""


class TextFormatter(logging.Formatter):
    """A line for people: time of day, level, logger, message, the record's own `fields`,
    request_id; `name` begins the lines of one of several."""

    def __init__(self, name: str = "") -> None:
        whose = name.replace("%", "%%") + " " if name else ""
        super().__init__(f"%(asctime)s {whose}%(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")

    @override
    def formatMessage(self, record: logging.LogRecord) -> str:
        fields = {**_fields(record), "request_id": getattr(record, "request_id", "")}
        told = " ".join(f"{n}={v}" for n, v in fields.items() if v not in ("", None))
        return f"{super().formatMessage(record)} {told}" if told else super().formatMessage(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = getattr(record, "fields", None)
    return fields if isinstance(fields, dict) else {}


class OwnOrSerious(logging.Filter):
    """Lets our own lines pass, and those of other packages from WARNING on.

    Below it they print whole requests, credentials in their headers included.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
        return own or record.levelno >= logging.WARNING


class OfRequest(logging.Filter):
    """Notes which request a line is of, where it is told: the thread that writes knows nothing."""

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        record.request_id = request_id.get()
        span = tracing.current.get()
        record.trace_id = "" if span is None else span.trace_id
        return True


@dataclass(frozen=True, slots=True)
class Logging:
    """How lines are written now."""

    output: LogOutput
    flood: FloodGate

    def lost(self) -> list[tuple[tuple[str, ...], float]]:
        """Lines that nobody will read, by why."""
        return [(("full",), self.output.lost), (("repeated",), self.flood.repeated)]

    def follow(self, name: str, read: Callable[[], object]) -> None:
        """Puts what it is then in every line of JSON; asked by the thread that writes."""
        if isinstance(self.output.formatter, JsonFormatter):
            self.output.formatter.live = {**self.output.formatter.live, name: read}

    def unfollow(self, name: str) -> None:
        """Leaves it out from now on."""
        if isinstance(self.output.formatter, JsonFormatter):
            live = self.output.formatter.live
            self.output.formatter.live = {n: read for n, read in live.items() if n != name}


def configure(
    level: str,
    log_format: LogFormat,
    fields: Mapping[str, str] | None = None,
    stream: TextIO | None = None,
    name: str = "",
) -> Logging:
    """Sends lines to `stream`, standard error by default; `level` is for our own, `fields` are in
    every line of JSON, `name` in every line of text."""
    handler = LogOutput(stream or sys.stderr)
    handler.setFormatter(JsonFormatter(fields) if log_format == "json" else TextFormatter(name))
    # The levels save the work. The filter holds even where a package sets its own level, as the
    # SDKs do for OPENAI_LOG and ANTHROPIC_LOG when they are imported.
    handler.addFilter(OwnOrSerious())
    flood = FloodGate(frozenset({ACCESS}))
    handler.addFilter(flood)
    handler.addFilter(OfRequest())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    set_level(level)
    return Logging(handler, flood)


def automatic() -> LogFormat:
    """Text for a terminal, else JSON."""
    return "text" if sys.stderr.isatty() else "json"


def set_level(name: str) -> None:
    """Of our own lines, from now on; others' are told from WARNING on, unless it is above. Raises
    ValueError."""
    if name not in LEVELS:
        raise ValueError(f"is one of {', '.join(LEVELS)}")
    chosen: int = logging.getLevelNamesMapping()[name.upper()]
    logging.getLogger().setLevel(max(chosen, logging.WARNING))
    logging.getLogger(_OWN).setLevel(chosen)


def level() -> str:
    """Of our own lines, as it is now."""
    return logging.getLevelName(logging.getLogger(_OWN).getEffectiveLevel()).lower()


def current() -> Logging | None:
    """What `configure` set up, if it did."""
    handlers = logging.getLogger().handlers
    output = next((h for h in handlers if isinstance(h, LogOutput)), None)
    if output is None:
        return None
    flood = next(f for f in output.filters if isinstance(f, FloodGate))
    return Logging(output, flood)
