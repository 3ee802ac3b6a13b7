"""Calls of servicers without a server."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ailb_server.api.call import Call, current_call
from ailb_server.domain.principal import ANYONE, Principal
from tests.unit.doubles import FakeContext


@contextmanager
def running(
    *,
    rest: bool = False,
    principal: Principal = ANYONE,
    refused: Callable[[str], None] = lambda _: None,
) -> Iterator[Any]:
    """A call with the id `r-1`, as the edge would have begun it: gives its context."""
    token = current_call.set(Call("r-1", rest, principal=principal, refused=refused))
    try:
        yield FakeContext()
    finally:
        current_call.reset(token)
