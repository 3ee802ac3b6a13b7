"""What may name a session."""

from ailb_server.domain.errors import InvalidRequestError

MAX_SESSION_ID = 256


def check_session_id(session_id: str, param: str = "session_id") -> str:
    """The id itself: 1 to 256 printable characters without `/`, which would part a REST path.

    Raises InvalidRequestError for any other; `param` is the field it names.
    """
    if not 1 <= len(session_id) <= MAX_SESSION_ID:
        raise InvalidRequestError(
            f"`{param}` must have 1 to {MAX_SESSION_ID} characters.", param=param
        )
    if "/" in session_id or not session_id.isprintable():
        raise InvalidRequestError(
            f"`{param}` must be of printable characters without `/`.", param=param
        )
    return session_id
