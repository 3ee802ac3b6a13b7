"""Turns as a recall reads them."""

from datetime import UTC, datetime

from ailb_server.domain.chat import JsonObject
from ailb_server.domain.turn import Role, StoredTurn
from ailb_server.memory.message_text import beside_text, text_of
from ailb_server.memory.request_turns import fingerprint_of

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def stored(*messages: JsonObject, similarity: float | None = None) -> list[StoredTurn]:
    """The messages, as if they were a session's."""
    return [
        StoredTurn(
            turn=number,
            role=Role[message["role"].upper()],
            text=text_of(message),
            message=beside_text(message),
            fingerprint=fingerprint_of(message),
            created_at=AT,
            similarity=similarity,
        )
        for number, message in enumerate(messages)
    ]
