"""What `ailb audit --where WHAT=VALUE` says, as fields of its requests."""

from collections.abc import Sequence
from typing import Any

_TEXTS = {"tenant": "tenant", "subject": "subject", "request": "request_id", "outcome": "outcome"}


def narrowed(terms: Sequence[str]) -> dict[str, Any]:
    """Raises ValueError."""
    fields: dict[str, Any] = {}
    for term in terms:
        what, _, value = term.partition("=")
        if what in _TEXTS and value:
            fields[_TEXTS[what]] = value
        elif what == "key" and value.isascii() and value.isdigit():
            fields["actor_key_id"] = int(value)
        else:
            raise ValueError(f"{term}: must be outcome=, tenant=, subject=, request= or key=NUMBER")
    return fields
