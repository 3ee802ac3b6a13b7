"""Which provider counts a request's tokens."""

import asyncio
import math
from dataclasses import dataclass, field, replace

import pytest

from ailb_server.domain.chat import ChatRequest
from ailb_server.domain.errors import (
    InvalidRequestError,
    ModelNotFoundError,
    RateLimitExceededError,
    UpstreamError,
    UpstreamRateLimitedError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.domain.principal import KeyLimits, Principal
from ailb_server.domain.target import Target
from ailb_server.pipeline.counting import TokenCounting
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.ledger import Ledger
from tests.unit.doubles import FakeProvider, chat
from tests.unit.pipeline.test_admission import desk


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
    ledger = Ledger()
    return TokenCounting(Catalogue(declared, ledger), counters, ledger, _unseen)


def _unseen(target: Target, seconds: float, failure: str | None) -> None:
    assert seconds >= 0
    assert failure
    assert target.model == "m"


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


def test_counting_keeps_to_limits_and_circuits_and_is_counted() -> None:
    b, c = Counter(), Counter()
    counting = _counting(b=b, c=c)
    b_state = counting.ledger.state(Target("b", "m"))
    b_state.cool_until = b_state.ready_at = math.inf
    asyncio.run(counting.count(chat("m")))
    assert (b.asked, c.asked) == ([], ["m"])
    assert counting.ledger.state(Target("c", "m")).totals.successful == 1
    limited = UpstreamRateLimitedError("x", retry_after_s=60)
    c.failure = limited
    for _ in range(3):
        with pytest.raises(UpstreamError) as raised:
            asyncio.run(counting.count(chat("m")))
        assert 50 < (raised.value.retry_after_s or 0) <= 60
    assert c.asked == ["m", "m"]


async def test_a_count_is_a_request_within_its_callers_limits() -> None:
    counter, who = Counter(), Principal(key_id=7, limits=KeyLimits(requests_per_minute=2))
    async with desk() as found:
        counting = replace(_counting(b=counter), admission=found.admission)
        for _ in range(2):
            await counting.count(chat("m"), who)
        with pytest.raises(RateLimitExceededError):
            await counting.count(chat("m"), who)
        assert len(counter.asked) == 2


async def test_a_count_gives_its_place_back_though_it_fails() -> None:
    counter = Counter(UpstreamUnavailableError("x"))
    who = Principal(key_id=7, limits=KeyLimits(max_concurrent=1))
    async with desk() as found:
        counting = replace(_counting(b=counter), admission=found.admission)
        for _ in range(2):
            with pytest.raises(UpstreamUnavailableError):
                await counting.count(chat("m"), who)
            counting.ledger.state(Target("b", "m")).ready_at = 0.0


def test_a_model_that_nobody_counts_is_named() -> None:
    with pytest.raises(InvalidRequestError, match="`m`") as refused:
        asyncio.run(_counting().count(chat("m")))
    assert refused.value.facts["param"] == "model"
    with pytest.raises(ModelNotFoundError):
        asyncio.run(_counting().count(chat("none-such")))
