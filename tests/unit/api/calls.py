"""Calls of servicers without a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ailb_server.api.edge import Call, current_call
from tests.unit.doubles import FakeContext


@contextmanager
def running(
    *, rest: bool = False, refused: Callable[[str], None] = lambda _: None
) -> Iterator[Any]:
    """A call with the id `r-1`, as the edge would have begun it: gives its context."""
    token = current_call.set(Call("r-1", rest, refused=refused))
    try:
        yield FakeContext()
    finally:
        current_call.reset(token)
