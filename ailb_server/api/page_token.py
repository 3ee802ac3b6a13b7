"""Opaque tokens of pages: where the next one begins."""

import base64
import binascii
from collections.abc import Sequence

import orjson

from ailb_server.domain.chat import Json
from ailb_server.domain.errors import InvalidRequestError

MAX_PAGE_SIZE = 1000
DEFAULT_PAGE_SIZE = 100
_MAX_TOKEN = 512


def checked_size(size: int) -> int:
    """A request's `page_size`, or the default for 0. Raises InvalidRequestError."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise InvalidRequestError(
            f"`page_size` must be from 1 to {MAX_PAGE_SIZE}.", param="page_size"
        )
    return size or DEFAULT_PAGE_SIZE


def page_token(kind: str, *values: int) -> str:
    """A token of whole numbers, only for requests of this `kind`."""
    return base64.urlsafe_b64encode(orjson.dumps([kind, *values])).decode().rstrip("=")


def values_of(token: str, kind: str, count: int) -> Sequence[int] | None:
    """The token's `count` numbers, of 64 bits; None for no token. Raises InvalidRequestError."""
    if not token:
        return None
    values = _parsed(token)
    if isinstance(values, list) and len(values) == count + 1 and values[0] == kind:
        numbers = [value for value in values[1:] if _whole(value)]
        if len(numbers) == count:
            return numbers
    raise InvalidRequestError("`page_token` is not one of this list.", param="page_token")


def _parsed(token: str) -> Json:
    if len(token) > _MAX_TOKEN:
        return None
    try:
        return orjson.loads(base64.b64decode(token + "=" * (-len(token) % 4), b"-_", validate=True))
    except (ValueError, binascii.Error):
        return None


def _whole(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63
