"""What may be sent in a header. A fault names no value: it may be a secret."""

import re
from collections.abc import Mapping

# A token of RFC 9110, 5.6.2.
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def header_value(text: str) -> str:
    """Without surrounding whitespace: a mounted secret ends with a newline. Raises ValueError."""
    stripped = text.strip()
    if not (stripped.isascii() and stripped.isprintable()):
        raise ValueError("must be printable ASCII")
    return stripped


def sendable(headers: Mapping[str, str]) -> Mapping[str, str]:
    """The headers with clean values. Raises ValueError, which names the header."""
    if not all(_NAME.fullmatch(name) for name in headers):
        raise ValueError("a name is not one that HTTP allows")
    return {name: _named(name, value) for name, value in headers.items()}


def _named(name: str, value: str) -> str:
    try:
        return header_value(value)
    except ValueError as error:
        raise ValueError(f"the value of {name} {error}") from None
