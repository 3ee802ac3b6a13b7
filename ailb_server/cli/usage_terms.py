"""What `ailb usage` is asked, as fields of its requests."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

_SPAN = re.compile(r"(\d{1,5})([hd])")
_MONTH = re.compile(r"\d{4}-\d{2}")
_UNITS = {"h": "hours", "d": "days"}
_TEXTS = ("tenant", "provider", "model", "session")
_OWN = ("key", "tenant")


def period_of(text: str, now: datetime) -> tuple[datetime, datetime]:
    """From when until when: `24h`, `7d`, `2026-11`, `2026-11-21`, or two days with `..` between.

    In UTC; the last day is in it. Raises ValueError.
    """
    if span := _SPAN.fullmatch(text):
        return now - timedelta(**{_UNITS[span[2]]: int(span[1])}), now
    if _MONTH.fullmatch(text):
        start = _day(f"{text}-01")
        return start, (start + timedelta(days=32)).replace(day=1)
    first, dots, last = text.partition("..")
    start, end = _day(first), _day(last if dots else first) + timedelta(days=1)
    if end <= start:
        raise ValueError(f"{text}: ends before it begins")
    return start, end


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ValueError(
            f"{text}: must be like 24h, 7d, 2026-11, 2026-11-21 or 2026-11-01..2026-11-21"
        ) from None


def narrowed(terms: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Fields by `WHAT=VALUE`s, and whose own usage is meant: `key`, `tenant`, or nobody's: empty.

    Raises ValueError.
    """
    fields: dict[str, Any] = {}
    own = ""
    for term in terms:
        what, _, value = term.partition("=")
        if what in _TEXTS and value:
            fields[what] = value
        elif what == "key" and value.isascii() and value.isdigit():
            fields["key_id"] = int(value)
        elif what == "own" and value in _OWN:
            own = value
        else:
            raise ValueError(
                f"{term}: must be tenant=, key=NUMBER, provider=, model=, session=,"
                " own=key or own=tenant"
            )
    if own and fields.keys() & {"tenant", "key_id"}:
        raise ValueError("own=: cannot be of another tenant or key")
    return fields, own
