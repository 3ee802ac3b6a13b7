"""A row of the usage ledger as JSON."""

from dataclasses import fields, replace
from typing import Any

import orjson

from ailb_server.domain.usage import UsageEntry

_MAX = 2**53
_NAMES = tuple(field.name for field in fields(UsageEntry))


def line_of(entry: UsageEntry) -> bytes:
    """One JSON object, without a line end. Never raises."""
    try:
        return orjson.dumps(entry)
    except orjson.JSONEncodeError:
        # A provider's JSON may hold half a character of UTF-16, and numbers without end.
        return orjson.dumps(replace(entry, **{n: _told(getattr(entry, n)) for n in _NAMES}))


def _told(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return min(value, _MAX) if isinstance(value, int) else value
