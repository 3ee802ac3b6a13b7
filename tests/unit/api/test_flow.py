"""Which messages of an answer are written, and which is left for the status."""

from collections.abc import AsyncGenerator
from typing import Any

import pytest

from ailb_server.api.call import Writing
from ailb_server.api.flow import NOTHING, flow
from tests.unit.doubles import FakeContext


async def _said(writing: Writing, *messages: str) -> AsyncGenerator[str, None]:
    """Those that end with a full stop are said to be the last."""
    for message in messages:
        writing.last = message.endswith(".")
        yield message


@pytest.mark.parametrize(
    ("messages", "written", "left"),
    [
        ((), [], NOTHING),
        (("a.",), [], "a."),
        (("a", "b", "c."), ["a", "b"], "c."),
        (("a", "b"), ["a", "b"], NOTHING),
        # It was not the last.
        (("a.", "b", "c"), ["a.", "b", "c"], NOTHING),
        (("a.", "b.", "c."), ["a.", "b."], "c."),
    ],
)
async def test_only_what_is_said_to_be_the_last_is_left(
    messages: tuple[str, ...], written: list[str], left: Any
) -> None:
    context, writing = FakeContext(), Writing()
    answer = _said(writing, *messages)
    assert await flow(answer, context.write, writing) == left
    assert (context.written, writing.busy) == (written, False)


@pytest.mark.parametrize("last", [False, True])
async def test_an_answer_that_breaks_raises_behind_what_it_said(*, last: bool) -> None:
    context, writing = FakeContext(), Writing()

    async def broken() -> AsyncGenerator[str, None]:
        writing.last = last
        yield "a"
        raise LookupError

    with pytest.raises(LookupError):
        await flow(broken(), context.write, writing)
    assert context.written == ["a"]
