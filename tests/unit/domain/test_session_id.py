"""What may name a session."""

import pytest

from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.session_id import check_session_id


@pytest.mark.parametrize(
    "session_id", ["a", "x" * 256, "user 7: chat", "früh-☀", "..", "a:b?c#d%e"]
)
def test_printable_characters_name_a_session(session_id: str) -> None:
    assert check_session_id(session_id) == session_id


@pytest.mark.parametrize(
    "session_id", ["", "x" * 257, "a/b", "a\nb", "a\0", "\x7f", "\u2028", "\ud800", "\u200b"]
)
def test_anything_else_is_refused_by_name(session_id: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        check_session_id(session_id, "X-Session-ID")
    assert refused.value.facts["param"] == "X-Session-ID"
