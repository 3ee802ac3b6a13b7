"""Events of the audit log for people: a table, and CSV."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from ailb.v1.audit_pb2 import AuditEvent
from ailb_server.cli.terminal import harmless

COLUMNS = (
    "id", "at", "action", "subject", "outcome", "tenant", "actor", "actor_key_id", "peer",
    "before", "after", "times", "request_id", "instance",
)  # fmt: skip
_TITLES = ("TIME (UTC)", "ACTION", "SUBJECT", "OUTCOME", "BY", "FROM", "TIMES", "WHAT")
_MAX_CELL = 32
_MAX_CHANGES = 100
# A cell that begins so is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def table(events: Sequence[AuditEvent]) -> Iterator[str]:
    """Lines of text; none if there are no events."""
    if not events:
        return
    rows = [_TITLES, *(_row(event) for event in events)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        placed = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(placed).rstrip()


def cells(event: AuditEvent) -> Sequence[str]:
    """In the order of COLUMNS; a text that a spreadsheet would take for a formula gets a `'`."""
    told: dict[str, Any] = {name: getattr(event, name) for name in COLUMNS}
    told["at"] = event.at.ToJsonString()
    told["actor_key_id"] = event.actor_key_id if event.HasField("actor_key_id") else ""
    for name in ("before", "after"):
        told[name] = _json(getattr(event, name)) if event.HasField(name) else ""
    return [_harmless_cell(str(told[name])) for name in COLUMNS]


def _row(event: AuditEvent) -> tuple[str, ...]:
    who = event.actor
    if event.HasField("actor_key_id"):
        who += f" (key {event.actor_key_id})"
    names = (event.action, event.subject, event.outcome, who, event.peer)
    times = f"{event.times:,}" if event.times > 1 else ""
    moment = f"{event.at.ToDatetime():%Y-%m-%d %H:%M:%S}"
    changes = _shortened(_changes(event), _MAX_CHANGES)
    return (moment, *(_shortened(name, _MAX_CELL) for name in names), times, changes)


def _changes(event: AuditEvent) -> str:
    """What is after, and of what it was before, what differs."""
    before, after = _plain(event.before), _plain(event.after)
    if not event.HasField("before"):
        return ", ".join(f"{name}={_value(value)}" for name, value in after.items() if _says(value))
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return ", ".join(f"{n}: {_value(before.get(n))} -> {_value(after.get(n))}" for n in names)


def _plain(struct: Struct) -> dict[str, Any]:
    return MessageToDict(struct)


def _says(value: Any) -> bool:
    return value not in (None, "", [], {})


def _value(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _json(struct: Struct) -> str:
    return json.dumps(_plain(struct), ensure_ascii=False)


def _shortened(text: str, most: int) -> str:
    text = harmless(text).replace("\n", " ").replace("\t", " ")
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _harmless_cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
