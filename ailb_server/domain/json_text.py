"""JSON that parsers in a hurry get wrong: halves of surrogate pairs, and large integers. Pure.

Half of a pair is `"\\ud83d"`. The format allows it (RFC 8259, 8.2), and servers that cut their
texts by UTF-16 units write it: the first half of an emoji ends one piece of a stream, the second
begins the next. Parsers of Unicode text refuse it, and neither UTF-8 nor protobuf can say it.
Integers may be of any size (RFC 8259, 6), and ids in the arguments of tools are: beyond 64 bits
orjson reads them as floats, and writes none.
"""

import re

import orjson
from pydantic_core import from_json, to_json

from ailb_server.domain.chat import Json

# Every escape is matched, so that a backslash that is itself escaped begins none. What begins or
# ends a string has its quote beside it.
_ESCAPES = re.compile(
    rb"\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    rb'|(?P<second>(?<=")(?<!\\")\\u[dD][c-fC-F][0-9a-fA-F]{2})'
    rb'|(?P<first>\\u[dD][89aAbB][0-9a-fA-F]{2}(?="))'
    rb"|(?P<alone>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    rb"|\\.",
    re.DOTALL,
)
_REPLACEMENT = rb"\ufffd"


def mended(text: bytes) -> bytes:
    """The text with U+FFFD for every half that stands alone."""
    return _ESCAPES.sub(lambda found: _REPLACEMENT if found.lastgroup else found[0], text)


def loads(text: bytes) -> Json:
    """Parses JSON; halves are U+FFFD. Raises orjson.JSONDecodeError."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        whole = mended(text)
        if whole == text:
            raise
        return orjson.loads(whole)


def exact_loads(text: bytes | str) -> Json:
    """As `loads`, and integers of any size stay what they are. Takes twice as long."""
    text = text.encode() if isinstance(text, str) else text
    return exact(text, loads(text))


def exact(text: bytes, value: Json) -> Json:
    """What `text` says, as it has been parsed but for its large integers."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        # Halves of pairs, or arrays deeper than it reads.
        return value


def exact_dumps(value: Json) -> bytes:
    """Writes JSON with integers of any size. Raises orjson.JSONEncodeError, as for great depth."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:
        try:
            return to_json(value)
        except ValueError:
            pass
        raise


class StreamedJson:
    """Parses the texts of one stream. The halves of a pair that one text ends and a later one
    begins are told as one character, with the later; a first half without a second is left out,
    every other half is U+FFFD."""

    def __init__(self) -> None:
        # The first halves at the ends of strings, in order.
        self._held: list[bytes] = []

    def loads(self, text: bytes) -> Json:
        """Raises orjson.JSONDecodeError."""
        try:
            return orjson.loads(text)
        except orjson.JSONDecodeError:
            whole = self._joined(text)
            if whole == text:
                raise
            return orjson.loads(whole)

    def _joined(self, text: bytes) -> bytes:
        halves = [found.lastgroup for found in _ESCAPES.finditer(text)]
        # With fewer or more of them it cannot be told which belong together.
        fits = bool(self._held) and halves.count("second") == len(self._held)
        before = iter(self._held if fits else ())
        holds = fits or not self._held
        self._held = []

        def told(found: re.Match[bytes]) -> bytes:
            if found.lastgroup == "second":
                return next(before) + found[0] if fits else _REPLACEMENT
            if found.lastgroup == "first" and holds:
                self._held.append(found[0])
                return b""
            return _REPLACEMENT if found.lastgroup else found[0]

        return _ESCAPES.sub(told, text)
