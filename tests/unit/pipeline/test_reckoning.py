"""One usage and one cost of a chat, told once to all who ask: limits, ledger, metrics, routing."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.errors import UpstreamTimeoutError, UpstreamUnavailableError
from ailb_server.domain.limits import Settlement
from ailb_server.domain.principal import Principal
from ailb_server.domain.route import Asker
from ailb_server.domain.target import Price, Target
from ailb_server.pipeline.metering import Metering
from ailb_server.pipeline.record import ChatRecord, Observers
from ailb_server.routing.state import Totals
from ailb_server.spend.reservation import Pricing, UnknownPrice
from ailb_server.telemetry.metrics import Metrics
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import PRICE, pipeline_over

SET = Pricing(UnknownPrice(price=Price(5_000_000, 5_000_000)))
LATE = UpstreamTimeoutError("late")
END = replace(chunk("end"), wire=b"data: [DONE]\n\n")
Says = Sequence[ChatChunk | Exception | None]


@dataclass
class Desk:
    """An admission that keeps what is settled."""

    settled: list[tuple[Target | None, TokenUsage | None]] = field(default_factory=list)
    headers: tuple[tuple[str, str], ...] = ()

    async def admit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> "Desk":
        return self

    def settle(self, target: Target | None, usage: TokenUsage | None) -> Sequence[Settlement]:
        self.settled.append((target, usage))
        return ()


class Run:
    """A chat over one provider, and who was told of it."""

    def __init__(
        self, says: Says, price: Price | None = PRICE, pricing: Pricing | None = None
    ) -> None:
        self.desk, self.observer, self.metrics = Desk(), Observer(), Metrics("a", "0")
        self.target = Target("p", "m", price=price)
        told = Observers((self.observer, Metering(self.metrics)))
        pipeline = pipeline_over(told, FakeProvider("p", says=says), price=price)
        pricing = pricing or Pricing()
        self.pipeline = replace(pipeline, admission=self.desk, pricing=pricing)

    async def read(self, request: ChatRequest) -> "Run":
        with contextlib.suppress(UpstreamTimeoutError):
            async with self.pipeline.open(request) as answer:
                async for _ in answer.chunks:
                    pass
        return self

    @property
    def record(self) -> ChatRecord:
        (record,) = self.observer.records
        return record

    @property
    def usage(self) -> TokenUsage:
        ((target, usage),) = self.desk.settled
        assert (target, usage) == (self.target, self.record.usage)
        assert usage is not None
        return usage

    @property
    def totals(self) -> Totals:
        return self.pipeline.router.ledger.state(self.target).totals

    def counted(self, name: str, **labels: str) -> float | None:
        labels |= {"provider": "p", "model": "m"}
        return self.metrics.registry.get_sample_value(f"ailb_{name}_total", labels)


TOLD = chunk("2", TokenUsage(10, 5))


@pytest.mark.parametrize(
    ("says", "estimated"),
    [
        ([chunk(), TOLD, END], False),
        ([chunk(), TOLD], False),
        ([chunk(), chunk(), END], True),
        ([chunk(), chunk()], True),
        ([chunk(), LATE], True),
    ],
)
async def test_all_are_told_the_same_and_once(says: Says, estimated: bool) -> None:  # noqa: FBT001
    run = await Run(says).read(chat(stream=True))
    usage, record = run.usage, run.record
    assert record.estimated is estimated
    cost = usage.prompt + 2 * usage.completion
    assert (record.cost_micro_dollars, run.totals.cost_micro_dollars) == (cost, cost)
    assert run.totals.usage == usage
    assert run.counted("tokens", kind="completion") == usage.completion
    assert run.counted("cost_dollars") == cost / 1_000_000


@pytest.mark.parametrize("stream", [True, False])
async def test_it_is_settled_before_the_caller_has_the_end(stream: bool) -> None:  # noqa: FBT001
    run = Run([chunk(), TOLD, END] if stream else [TOLD])
    async with run.pipeline.open(chat(stream=stream)) as answer:
        counts = [(len(run.desk.settled), run.totals.usage.prompt) async for _ in answer.chunks]
    assert counts == ([(0, 0)] * 2 if stream else []) + [(1, 10)]
    assert run.usage == TokenUsage(10, 5)


async def test_a_second_end_is_not_settled_again() -> None:
    run = await Run([chunk(), TOLD, END, END]).read(chat(stream=True))
    assert run.usage == run.totals.usage == TokenUsage(10, 5)
    assert len(run.observer.answered) == 1


async def test_a_caller_who_leaves_pays_for_what_was_seen() -> None:
    run = Run([chunk()] * 7 + [None])
    with pytest.raises(GeneratorExit):
        async with run.pipeline.open(chat(stream=True)) as answer:
            for _ in range(7):
                await anext(answer.chunks)
            raise GeneratorExit
    assert run.usage.completion == 7
    assert 0 < run.usage.prompt < 100
    assert run.record.estimated


async def test_what_the_provider_told_by_then_counts_if_it_is_more() -> None:
    early = chunk("1", TokenUsage(90, 1, cached=5))
    run = await Run([early, chunk(), chunk(), LATE]).read(chat(stream=True))
    assert run.usage == TokenUsage(90, 3, cached=5)
    late = chunk("3", TokenUsage(90, 40, cached=5))
    run = await Run([chunk(), chunk(), late, LATE]).read(chat(stream=True))
    assert run.usage == TokenUsage(90, 40, cached=5)


async def test_a_whole_answer_without_usage_counts_by_its_length() -> None:
    run = await Run([ChatChunk(({},), b"x" * 400)]).read(chat())
    assert run.usage.completion == 100
    assert run.record.estimated


async def test_what_a_caller_did_not_read_is_owed() -> None:
    run = Run([ChatChunk(({},), b"x" * 400)])
    async with run.pipeline.open(chat()):
        pass
    assert run.usage.completion == 100


async def test_a_failure_costs_nothing() -> None:
    # Before the first valid chunk, so that nobody answered.
    run = Run([UpstreamUnavailableError("x")])
    with pytest.raises(UpstreamUnavailableError):
        async with run.pipeline.open(chat()):
            pass
    assert run.desk.settled == [(None, None)]
    assert (run.record.usage, run.record.cost_micro_dollars) == (None, None)


@pytest.mark.parametrize(
    ("pricing", "cost"),
    [(Pricing(), None), (Pricing(UnknownPrice(denied=True)), None), (SET, 75)],
)
async def test_a_model_without_a_price_costs_what_the_setting_says(
    pricing: Pricing, cost: int | None
) -> None:
    run = await Run([chunk(), TOLD, END], None, pricing).read(chat(stream=True))
    assert run.usage == TokenUsage(10, 5)
    assert run.record.cost_micro_dollars == cost
    assert run.totals.cost_micro_dollars == (cost or 0)
    assert run.counted("cost_dollars") == (cost / 1_000_000 if cost else None)
