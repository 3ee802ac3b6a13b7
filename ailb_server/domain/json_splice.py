"""Edits top-level members of a JSON object in its text, so that all else stays byte for byte.

Parsing and re-encoding would change number forms (`1e3`, `0.10`), escapes and the order of equal
keys, which providers hash into their prompt caches.
"""

import re
from collections.abc import Iterator, Mapping, Sequence

import orjson

from ailb_server.domain.json_text import loads

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],:]', re.DOTALL)
_OPEN, _CLOSE = frozenset(b"{["), frozenset(b"}]")


def splice(text: bytes, edits: Mapping[str, bytes | None]) -> bytes:
    """Replaces members by the given JSON texts, removes those given as None, and appends new ones.

    `text` must be a valid JSON object. Repeated members of an edited name become one.
    """
    if not edits:
        return text
    pieces: list[bytes] = []
    found: set[str] = set()
    for name, member in _members(text):
        if name not in edits:
            pieces.append(member)
            continue
        value = edits[name]
        if value is not None and name not in found:
            pieces.append(b"%b:%b" % (orjson.dumps(name), value))
        found.add(name)
    for name, value in edits.items():
        if name not in found and value is not None:
            pieces.append(b"%b:%b" % (orjson.dumps(name), value))
    return b"{" + b",".join(pieces) + b"}"


def append(text: bytes, name: str, value: bytes) -> bytes:
    """Appends a member that the non-empty JSON object `text` is known not to have: no scan."""
    return b"%b,%b:%b}" % (text.rstrip()[:-1], orjson.dumps(name), value)


def insert(text: bytes, name: str, index: int, items: Sequence[bytes]) -> bytes:
    """Inserts JSON texts into the array that the member `name` is, before its item `index`.

    `text` must be a valid JSON object that has the member, an array of at least `index` items.
    """
    # The last one of equal names is what parsers see.
    value = [member for found, member in _members(text) if found == name][-1]
    array = value[value.index(b"[", value.index(b":")) :]
    start = _start_of(array, index)
    before, after = array[:start].rstrip(), array[start:].lstrip()
    pieces = [*items, after[:-1].rstrip()] if after != b"]" else list(items)
    joint = b"" if before.endswith((b"[", b",")) else b","
    return splice(text, {name: before + joint + b",".join(pieces) + b"]"})


def _start_of(array: bytes, index: int) -> int:
    """Where the item `index` begins; where the array ends, if there is none."""
    if index == 0:
        return 1
    depth = found = 0
    for token in _TOKEN.finditer(array):
        first = array[token.start()]
        depth += (first in _OPEN) - (first in _CLOSE)
        found += depth == 1 and first == ord(",")
        if found == index:
            return token.end()
    return len(array.rstrip()) - 1


def _members(text: bytes) -> Iterator[tuple[str, bytes]]:
    """Each top-level member: its name, and its text from the name to before the comma."""
    depth, start, name = 0, 0, None
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in _OPEN:
            depth += 1
            start = token.end() if depth == 1 else start
        elif first in _CLOSE:
            depth -= 1
            if depth == 0 and name is not None:
                yield name, text[start : token.start()].strip()
        elif depth == 1:
            if first == ord(","):
                assert name is not None  # noqa: S101 - `text` is valid JSON
                yield name, text[start : token.start()].strip()
                start, name = token.end(), None
            elif name is None and first == ord('"'):
                name = loads(token.group())
