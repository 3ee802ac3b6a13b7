"""What a provider was sent in confidence, and must not be quoted with: its errors reach callers."""

import re
from collections.abc import Iterator, Mapping

from yarl import URL

REDACTED = b"[redacted]"
# What the formats themselves say; all else may be a credential, whatever its header is named.
_PUBLIC = re.compile(r"accept.*|content-.*|anthropic-(version|beta)|user-agent|host")
_SEPARATORS = re.compile(r"[\s=;,:\"]+")
_NAME = re.compile(r"[A-Za-z]+(_[A-Za-z]+){0,7}|[0-9]{3}")
# Shorter ones are words, and no secrets.
_LEAST = 8


def confided(url: URL, headers: Mapping[str, str]) -> tuple[bytes, ...]:
    """The credentials of a request, the longest first: each whole value, and its parts, as of
    `Bearer …` and of cookies."""
    found = {part for text in _texts(url, headers) for part in (text, *_SEPARATORS.split(text))}
    kept = sorted((part for part in found if len(part) >= _LEAST), key=len, reverse=True)
    return tuple(part.encode() for part in kept)


def kind_of(code: object) -> str:
    """An error's code, if it is a name or a status; else `unknown`: it may be any text."""
    text = str(code) if code else ""
    return text if _NAME.fullmatch(text) else "unknown"


def without(told: bytes, credentials: tuple[bytes, ...]) -> bytes:
    """A provider's words without them."""
    for credential in credentials:
        told = told.replace(credential, REDACTED)
    return told


def _texts(url: URL, headers: Mapping[str, str]) -> Iterator[str]:
    yield from (value for name, value in headers.items() if not _PUBLIC.fullmatch(name.lower()))
    yield from url.query.values()
