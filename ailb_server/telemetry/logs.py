"""Log lines: JSON for machines, text for a terminal. No prompt, no answer, no secret."""

import logging
import sys
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Literal

import orjson
from typing_extensions import override

LogFormat = Literal["json", "text"]

_OWN = "ailb_server"

request_id: ContextVar[str] = ContextVar("request_id", default="")


class JsonFormatter(logging.Formatter):
    """One object a line: time (RFC 3339, UTC), level, logger, message, request_id, error."""

    @override
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "request_id": request_id.get(),
            "error": self.formatException(record.exc_info) if record.exc_info else "",
        }
        return orjson.dumps({name: value for name, value in line.items() if value}).decode()


class OwnOrSerious(logging.Filter):
    """Lets our own lines pass, and those of other packages from WARNING on.

    Below it they print whole requests, credentials in their headers included.
    """

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        own = record.name == _OWN or record.name.startswith(f"{_OWN}.")
        return own or record.levelno >= logging.WARNING


def configure(level: str, log_format: LogFormat) -> None:
    """Sends log lines to standard error; `level` is for our own."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if log_format == "json"
        else logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%H:%M:%S")
    )
    # The levels save the work. The filter holds even where a package sets its own level, as the
    # SDKs do for OPENAI_LOG and ANTHROPIC_LOG when they are imported.
    handler.addFilter(OwnOrSerious())
    chosen: int = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(chosen, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger(_OWN).setLevel(chosen)
