"""Statements as spans of the traces that they are within, by OpenTelemetry's conventions."""

import re

import asyncpg

from ailb_server.telemetry import tracing

_SYSTEM = "postgresql"
_MAX_TEXT = 1000
_SPACE = re.compile(r"\s+")
_COMMENT = re.compile(r"--[^\n]*\n|/\*.*?\*/", re.DOTALL)
# The first word and what it is about: of `WITH …` neither says much.
_TABLE = re.compile(r"\b(?:FROM|INTO|UPDATE)\s+([a-z_][a-z0-9_.]*)", re.IGNORECASE)


def statement_seen(query: asyncpg.connection.LoggedQuery) -> None:
    """Of asyncpg, after each statement, in the context of who asked for it. Arguments are content
    and are not told; the text is AILB's own and holds none."""
    parent = tracing.current.get()
    if parent is None:
        return
    text = _SPACE.sub(" ", _COMMENT.sub(" ", query.query)).strip()
    operation = text.partition(" ")[0].upper()
    table = _TABLE.search(text)
    name = f"{operation} {table[1]}" if table else operation
    span = parent.child(name, "client", ago_s=query.elapsed)
    span.tell(
        {
            "db.system.name": _SYSTEM,
            "db.operation.name": operation,
            "db.query.summary": name,
            "db.query.text": text[:_MAX_TEXT],
        }
    )
    if query.exception is not None:
        span.fail(tracing.reason_of(query.exception))
    span.end()
