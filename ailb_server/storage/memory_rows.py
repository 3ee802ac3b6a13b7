"""Rows of `turns` as memory's values, and values as parameters."""

from typing import Any

import orjson
from pgvector import HalfVector

from ailb_server.domain.embedding import Vector
from ailb_server.domain.turn import Role, StoredTurn, TurnRecord
from ailb_server.storage.connection import Row

# The expression of the index turns_words; it must be written like this for the index to be used.
WORDS = """(to_tsvector('english', left(t.text, 20000))
 || array_to_tsvector(ARRAY['tenant:' || t.tenant_id::text, 'session:' || t.session_id::text]))"""


def stored_turn(row: Row) -> StoredTurn:
    """Of the columns turn, role, text, message, fingerprint, created_at, similarity."""
    return StoredTurn(
        turn=row["turn"],
        role=Role(row["role"]),
        text=row["text"],
        message=_object(row["message"]),
        fingerprint=row["fingerprint"],
        created_at=row["created_at"],
        similarity=row["similarity"],
    )


def turn_record(row: Row, session_id: str) -> TurnRecord:
    """Of all columns that callers may see."""
    return TurnRecord(
        session_id=session_id,
        turn=row["turn"],
        role=Role(row["role"]),
        text=row["text"],
        message=_object(row["message"]),
        model=row["model"],
        provider=row["provider"],
        tokens=row["tokens"],
        finish_reason=row["finish_reason"],
        request_id=row["request_id"],
        created_at=row["created_at"],
    )


def halfvec(vector: Vector) -> HalfVector:
    """As the codec takes it, in lists too."""
    return HalfVector(vector)


def _object(text: str | None) -> Any:
    return None if text is None else orjson.loads(text)
