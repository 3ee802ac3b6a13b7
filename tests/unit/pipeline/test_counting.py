"""Which provider counts a request's tokens."""

import asyncio
from dataclasses import dataclass, field

import pytest

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.ledger import Ledger
from tests.unit.doubles import FakeProvider, chat


@dataclass
class Counter:
    failure: UpstreamError | None = None
    asked: list[str] = field(default_factory=list)

    async def count_tokens(self, request: ChatRequest, model: str) -> bytes:
        self.asked.append(model)
        if self.failure:
            raise self.failure
        return b"{}"


def _counting(**counters: Counter) -> TokenCounting:
    declared = [
        Declaration(name, name, FakeProvider(name), models=("m",)) for name in ("a", "b", "c")
    ]
    return TokenCounting(Catalogue(declared, Ledger()), counters)


def test_the_first_that_can_count_does() -> None:
    b, c = Counter(), Counter()
    assert asyncio.run(_counting(b=b, c=c).count(chat("m"))) == b"{}"
    assert (b.asked, c.asked) == (["m"], [])


def test_a_failure_moves_on_and_a_refusal_does_not() -> None:
    c = Counter()
    failing = Counter(UpstreamUnavailableError("x"))
    assert asyncio.run(_counting(b=failing, c=c).count(chat("m"))) == b"{}"
    with pytest.raises(UpstreamUnavailableError):
        asyncio.run(_counting(b=failing).count(chat("m")))
    refusal = UpstreamRejectedError("no", UpstreamReply(400, "", b""), provider="b")
    with pytest.raises(UpstreamRejectedError):
        asyncio.run(_counting(b=Counter(refusal), c=c).count(chat("m")))
    assert c.asked == ["m"]


def test_a_model_that_nobody_counts_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="`m`") as refused:
        asyncio.run(_counting().count(chat("m")))
    assert refused.value.facts["param"] == "model"
    with pytest.raises(ModelNotFoundError):
        asyncio.run(_counting().count(chat("none-such")))
