"""One chat's record, on every way out."""

import asyncio
import contextlib

import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    ModelNotFoundError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.target import Target
from ailb_server.pipeline.record import ChatRecord
from ailb_server.routing.state import Totals
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import PRICE, pipeline_over

_T = Target("p", "m", price=PRICE)


class _Run:
    """A pipeline over one provider."""

    def __init__(
        self, *says: ChatChunk | Exception | None, refusal: Exception | None = None
    ) -> None:
        self.provider = FakeProvider(says=says, refusal=refusal)
        self.observer = Observer()
        self.pipeline = pipeline_over(self.observer, self.provider)

    def totals(self) -> Totals:
        return self.pipeline.router.ledger.state(_T).totals

    async def read(self, model: str = "m", *, stream: bool = True) -> list[ChatChunk]:
        async with self.pipeline.open(chat(model, stream=stream)) as answer:
            return [chunk async for chunk in answer.chunks]

    @property
    def record(self) -> ChatRecord:
        assert self.observer.started == 1
        (record,) = self.observer.records
        assert record.total_s >= 0
        return record


async def test_an_answer() -> None:
    usage = TokenUsage(prompt=7, completion=3)
    said = [chunk("1"), chunk("2", TokenUsage(prompt=7)), chunk("3", usage), chunk("4")]
    run = _Run(*said)
    assert await run.read() == said
    record = run.record
    assert (record.outcome, record.target, record.usage) == ("ok", _T, usage)
    assert (record.model_asked, record.stream) == ("m", True)
    assert record.overhead_s is not None
    assert record.first_token_s is not None
    assert 0 <= record.overhead_s <= record.first_token_s <= record.total_s
    assert run.provider.log[-1] == "p closed"


async def test_usage_of_the_first_chunk_counts() -> None:
    run = _Run(chunk("1", TokenUsage(prompt=7)))
    await run.read(stream=False)
    assert run.record.usage == TokenUsage(prompt=7)
    assert not run.record.stream


@pytest.mark.parametrize("end", [(), (UpstreamTimeoutError("late"),)], ids=["whole", "cut"])
async def test_what_was_seen_is_estimated_where_no_usage_is_told(
    end: tuple[Exception, ...],
) -> None:
    run = _Run(*[chunk("word")] * 30, *end)
    with contextlib.suppress(UpstreamTimeoutError):
        await run.read()
    usage = run.record.usage
    assert usage is not None
    assert run.record.estimated
    assert usage.completion == 30
    assert 0 < usage.prompt < 100
    assert run.totals().usage == usage
    assert run.totals().cost_micro_dollars == usage.prompt + 2 * usage.completion


async def test_an_unstreamed_answer_without_usage_is_measured_by_its_length() -> None:
    run = _Run(chunk("word " * 400))
    await run.read(stream=False)
    assert run.record.usage is not None
    assert 500 <= run.record.usage.completion < 600


async def test_of_a_stream_that_is_cut_the_early_usage_is_not_all() -> None:
    run = _Run(chunk("1", TokenUsage(7, 1)), *[chunk("word")] * 20, UpstreamTimeoutError("late"))
    with pytest.raises(UpstreamTimeoutError):
        await run.read()
    assert run.record.usage == TokenUsage(7, 21)
    assert run.record.estimated


async def test_of_a_whole_stream_the_told_usage_is_all() -> None:
    run = _Run(*[chunk("word")] * 20, chunk("end", TokenUsage(7, 1)))
    await run.read()
    assert run.record.usage == TokenUsage(7, 1)
    assert not run.record.estimated


@pytest.mark.parametrize(
    ("refusal", "outcome"),
    [
        (UpstreamUnavailableError("x"), "upstream_unavailable"),
        (
            UpstreamRejectedError("x", UpstreamReply(400, "", b""), provider="p"),
            "upstream_rejected",
        ),
        (RuntimeError("a bug"), "internal_error"),
    ],
)
async def test_no_answer(refusal: Exception, outcome: str) -> None:
    run = _Run(refusal=refusal)
    with pytest.raises(type(refusal)):
        await run.read()
    record = run.record
    assert (record.outcome, record.target, record.usage) == (outcome, None, None)
    assert (record.overhead_s, record.first_token_s) == (None, None)


async def test_an_unknown_model_reaches_no_provider() -> None:
    run = _Run(chunk())
    with pytest.raises(ModelNotFoundError):
        await run.read("nope")
    assert run.record.outcome == "model_not_found"
    assert run.provider.log == []


async def test_an_answer_that_breaks_off() -> None:
    run = _Run(chunk("1", TokenUsage(prompt=7)), UpstreamTimeoutError("late"))
    with pytest.raises(UpstreamTimeoutError):
        await run.read()
    record = run.record
    assert (record.outcome, record.target) == ("upstream_timeout", _T)
    assert record.usage == TokenUsage(prompt=7, completion=1)


@pytest.mark.parametrize("says", [[None], [chunk(), None]], ids=["before-first", "later"])
async def test_a_cancelled_chat(says: list[ChatChunk | None]) -> None:
    run = _Run(*says)
    task = asyncio.create_task(run.read())
    await run.provider.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.record.outcome == "cancelled"
    assert run.provider.log == ["p open m", "p closed"]


async def test_a_reader_that_leaves_a_stream() -> None:
    run = _Run(chunk("1"), chunk("2"), None)

    async def relay() -> None:
        async with run.pipeline.open(chat(stream=True)) as answer:
            async for _ in answer.chunks:
                # What a closed servicer raises at its yield.
                raise GeneratorExit

    with pytest.raises(GeneratorExit):
        await relay()
    assert run.record.outcome == "cancelled"
    assert run.provider.log == ["p open m", "p closed"]
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}, "nothing is left to clean up"


async def test_a_fault_of_the_reader_is_internal() -> None:
    run = _Run(chunk(), chunk())
    with pytest.raises(ZeroDivisionError):
        async with run.pipeline.open(chat()):
            raise ZeroDivisionError
    assert run.record.outcome == "internal_error"


async def test_fails_over_within_one_chat() -> None:
    observer = Observer()
    failing = FakeProvider("p", refusal=UpstreamUnavailableError("x"))
    pipeline = pipeline_over(observer, failing, FakeProvider("q", says=[chunk()]))
    async with pipeline.open(chat()) as answer:
        assert answer.target == Target("q", "m", price=PRICE)
        assert answer.overhead_s >= 0
    assert [record.outcome for record in observer.records] == ["ok"]
