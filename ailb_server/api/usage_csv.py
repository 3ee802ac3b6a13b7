"""Rows of the usage ledger as CSV (RFC 4180), for spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

CONTENT_TYPE = "text/csv; charset=utf-8"
COLUMNS = (
    "at",
    "id",
    "tenant",
    "key_id",
    "key_name",
    "request_id",
    "session_id",
    "operation",
    "streamed",
    "provider",
    "model_asked",
    "model_sent",
    "model_answered",
    "prompt_tokens",
    "cached_tokens",
    "cache_write_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "estimated",
    "cost_micro_dollars",
    "latency_ms",
    "first_token_ms",
    "outcome",
    "finish_reason",
    "instance",
    "served_from",
)
# A cell that begins so is a formula to a spreadsheet, and callers choose names of models.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def header() -> bytes:
    """The line of the columns' names."""
    return ",".join(COLUMNS).encode() + b"\r\n"


def lines(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """A line for each row; what is unknown is empty, a text that would be a formula gets a `'`."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([_cell(row[name]) for name in COLUMNS] for row in rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
