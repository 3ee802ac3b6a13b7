"""What an answer's headers tell, whatever names a caller has made up."""

from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.api.answer_metadata import MAX_IGNORED, answer_metadata
from ailb_server.api.call import Call
from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.target import Target
from ailb_server.pipeline.chat import ChatAnswer


async def _nothing() -> AsyncIterator[ChatChunk]:
    nothing: tuple[ChatChunk, ...] = ()
    for chunk in nothing:
        yield chunk


def _told(*ignored: str, untold: tuple[str, ...] = (), own: tuple[str, ...] = ()) -> str | None:
    answer = ChatAnswer(Target("p", "m"), 0.0, _nothing(), frozenset((*ignored, *own)))
    metadata = answer_metadata(Call("r-1", rest=True), answer, untold)
    return dict(metadata).get("x-ailb-ignored-params")


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((), None),
        (("user", "seed", "user"), "seed,user"),
        (("x,\r\né",), "x_\\r\\n\\xe9"),
        (("y" * 99,), "y" * 64),
    ],
)
def test_ignored_parameters(names: tuple[str, ...], told: str | None) -> None:
    assert _told(*names) == _told(untold=names) == told


def test_own_fields_are_told_beside_them() -> None:
    assert _told("b", untold=("a",), own=("session_id",)) == "a,b,session_id"


@given(st.lists(st.text(min_size=1, max_size=90), min_size=1, max_size=60))
def test_any_names_fit_a_header(names: list[str]) -> None:
    told = _told(*names, own=("session_id",)) or ""
    assert len(told) < 2500
    assert told.isascii()
    assert told.isprintable()
    assert told.count(",") <= MAX_IGNORED
    assert "session_id" in told.split(",")
