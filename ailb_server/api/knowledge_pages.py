"""Opaque tokens of pages that are ordered by a name; `page_token` has those of numbers."""

import base64
import binascii

from ailb_server.domain.errors import InvalidRequestError

_MAX_TOKEN = 4096


def page_token(last: str) -> str:
    """What asks for the page after the one that ends with `last`; opaque to callers."""
    return base64.urlsafe_b64encode(last.encode()).decode()


def page_start(token: str) -> str:
    """What the page before ended with; empty for the first. Raises InvalidRequestError."""
    try:
        if len(token) <= _MAX_TOKEN:
            return base64.b64decode(token.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pass
    raise InvalidRequestError(
        "`page_token` must be a `next_page_token` of this list.", param="page_token"
    )
