"""Marks: texts that are nowhere else, and how to find them."""

import base64
import secrets
from dataclasses import dataclass, field


def mark(name: str) -> str:
    """A text that names itself, and that nobody else writes."""
    return f"cnry{name}{secrets.token_hex(12)}"


@dataclass(slots=True)
class Marks:
    """`secret` must be nowhere; `said` (prompts, documents, names that callers choose) only where
    it is kept on purpose. Both by what they are; the values are what to look for."""

    secret: dict[str, str] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def hide(self, name: str) -> str:
        """A new secret."""
        self.secret[name] = mark(name)
        return self.secret[name]

    def say(self, name: str) -> str:
        """A new text of a caller."""
        self.said[name] = mark(name)
        return self.said[name]

    def secrets_in(self, text: str) -> list[str]:
        """What secrets are in a text, as they are or encoded."""
        return _found(self.secret, text)

    def said_in(self, text: str) -> list[str]:
        """What callers' texts are in it."""
        return _found(self.said, text)


def _found(marks: dict[str, str], text: str) -> list[str]:
    return sorted(
        name for name, value in marks.items() if any(form in text for form in _forms(value))
    )


def _forms(value: str) -> list[str]:
    """As it is; as bytea is shown; and in base64, wherever in the text it begins."""
    raw = value.encode()
    shifted = (base64.b64encode(b"x" * n + raw).decode()[4:-4] for n in range(3))
    return [value, raw.hex(), *shifted]
