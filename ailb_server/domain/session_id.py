"""What a session may be called."""

from ailb_server.domain.errors import InvalidRequestError

MAX_SESSION_ID = 256


def checked_session_id(value: str) -> str:
    """1 to 256 printable characters without `/`, which would part a REST path.

    Raises InvalidRequestError.
    """
    if not 1 <= len(value) <= MAX_SESSION_ID or "/" in value or not value.isprintable():
        raise InvalidRequestError(
            f"`session_id` must be 1 to {MAX_SESSION_ID} printable characters without `/`.",
            param="session_id",
        )
    return value
