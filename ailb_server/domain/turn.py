"""A message of a session: as it is stored, and as it is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from uuid import UUID

from ailb_server.domain.chat import JsonObject

CHARACTERS_PER_TOKEN = 4


class Role(IntEnum):
    """Who said it; the numbers are those of `turns.role`."""

    USER = 1
    ASSISTANT = 2
    TOOL = 3

    @property
    def word(self) -> str:
        """As OpenAI writes it."""
        return self.name.lower()


def estimated_tokens(text: str) -> int:
    """A token for four characters, at least one: no tokenizer runs on the way of a request."""
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A message to be stored.

    `message` is what OpenAI's has beside role and text, or None. `fingerprint` (64 bits, signed)
    is the same for the same message in a later request.
    """

    role: Role
    text: str
    message: JsonObject | None
    fingerprint: int
    tokens: int
    model: str = ""
    provider: str = ""
    finish_reason: str = ""

    @property
    def embeddable(self) -> bool:
        """Whether it has words to be compared with."""
        return self.role is not Role.TOOL and bool(self.text.strip())


@dataclass(frozen=True, slots=True)
class NewExchange:
    """What of an exchange is to be stored.

    `history` is what its request may repeat of the session; `fresh` is new: what the caller says
    now, and the answer last. `key` tells a retry; `size` is in bytes, about.
    """

    tenant_id: int
    session_id: str
    end_user: str
    request_id: str
    key: UUID
    history: Sequence[NewTurn]
    fresh: Sequence[NewTurn]
    size: int


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A message of a session as a recall reads it: `text` may be cut.

    `similarity` is the cosine to the request, None for a turn that is recalled as one of the last.
    """

    turn: int
    role: Role
    text: str
    message: JsonObject | None
    fingerprint: int
    created_at: datetime
    similarity: float | None = None


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """All that is stored of a turn."""

    session_id: str
    turn: int
    role: Role
    text: str
    message: JsonObject | None
    model: str
    provider: str
    tokens: int
    finish_reason: str
    request_id: str
    created_at: datetime
