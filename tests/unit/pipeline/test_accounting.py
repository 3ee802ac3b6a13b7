"""A row for each chat, on every way out, and before the caller has the answer's end."""

import asyncio
import contextlib
from dataclasses import dataclass, field, replace

import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    AilbError,
    BudgetExceededError,
    ModelNotFoundError,
    RateLimitExceededError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Price, Target
from ailb_server.domain.usage import UsageEntry
from ailb_server.pipeline.accounting import Accounting
from ailb_server.pipeline.record import ChatRecord, Observers, record_of
from ailb_server.pipeline.wishes import CallWishes
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import pipeline_over

NOW = 1_795_262_400.25
WHO = Principal(7, "acme", 9, "k")
WISHES = CallWishes(who=WHO, session_id="header", request_id="r-1")
PRICED = Target("p", "m", price=Price(prompt=2_000_000, completion=8_000_000))


@dataclass
class Ledger:
    """Keeps them."""

    entries: list[UsageEntry] = field(default_factory=list)

    def record(self, entry: UsageEntry) -> None:
        self.entries.append(entry)

    @property
    def entry(self) -> UsageEntry:
        (entry,) = self.entries
        return entry


def booked(record: ChatRecord, *, own: bool = False) -> UsageEntry:
    ledger = Ledger()
    Accounting(ledger, "ailb-1", own=own, clock=lambda: NOW).chat_finished(record)
    return ledger.entry


def end(text: str = "x", usage: TokenUsage | None = None) -> ChatChunk:
    return replace(chunk(text, usage), wire=b"data: [DONE]\n\n")


def finish(reason: str, index: int = 0) -> ChatChunk:
    choice = {"index": index, "delta": {}, "finish_reason": reason}
    return ChatChunk(({"model": "m-2026", "choices": [choice]},), b"data: {}\n\n")


def test_a_row_tells_all() -> None:
    record = record_of(chat("gpt", stream=True), WISHES)
    record.target = PRICED
    record.usage, record.cost_micro_dollars = TokenUsage(10, 5, 4, 1, 2), 60
    record.first_token_s, record.total_s = 0.25, 0.5
    record.saw(finish("stop"))
    entry = booked(record)
    assert entry == UsageEntry(
        id=entry.id,
        at="2026-11-21T12:00:00.250000+00:00",
        tenant_id=7,
        key_id=9,
        request_id="r-1",
        session_id="header",
        operation="chat",
        streamed=True,
        provider="p",
        model_asked="gpt",
        model_sent="m",
        model_answered="m-2026",
        prompt_tokens=10,
        cached_tokens=4,
        cache_write_tokens=1,
        completion_tokens=5,
        reasoning_tokens=2,
        cost_micro_dollars=60,
        latency_ms=500.0,
        first_token_ms=250.0,
        outcome="ok",
        finish_reason="stop",
        instance="ailb-1",
    )


def test_what_nobody_told_is_unknown_and_not_nothing() -> None:
    free = ChatRecord("m", stream=False, target=Target("p", "m"), usage=TokenUsage(3))
    assert booked(free).cost_micro_dollars is None
    silent = booked(ChatRecord("m", stream=False, target=PRICED, first_token_s=1.0))
    assert (silent.prompt_tokens, silent.cost_micro_dollars) == (None, None)
    assert silent.first_token_ms is None, "not streamed"


def test_a_session_of_the_body_comes_first() -> None:
    request = replace(chat(session_id="body"), own_fields=frozenset({"session_id"}))
    assert record_of(request, WISHES).session_id == "body"
    odd = replace(chat(session_id=7), own_fields=frozenset({"session_id"}))
    assert record_of(odd, WISHES).session_id == "header"


def test_ids_are_of_version_7_and_differ() -> None:
    ids = {booked(ChatRecord("m", stream=False)).id for _ in range(1000)}
    assert len(ids) == 1000
    assert {one[:12] for one in ids} == {f"{int(NOW * 1000):012x}"}
    assert {(one[12], one[16] in "89ab") for one in ids} == {("7", True)}


def test_others_words_are_cut_and_have_no_nul() -> None:
    entry = booked(ChatRecord("a\0b" + "x" * 1000, stream=False))
    assert entry.model_asked == "ab" + "x" * 253


def test_ones_own_chats_are_of_no_tenant() -> None:
    assert booked(ChatRecord("m", stream=False), own=True).tenant_id is None


@pytest.mark.parametrize(
    "odd",
    [
        {"model": 7, "choices": "none"},
        {"choices": [7, {"index": 0, "finish_reason": {}}]},
        {"choices": [{"index": [], "finish_reason": "stop"}]},
        {"choices": []},
    ],
)
def test_an_odd_answer_tells_nothing(odd: dict[str, object]) -> None:
    record = ChatRecord("m", stream=True)
    record.saw(ChatChunk((odd,), b""))
    assert (record.model_answered, record.finish_reason) == ("", "")


def test_the_first_choice_tells_why_it_ended() -> None:
    record = ChatRecord("m", stream=True)
    for said in (finish("stop"), finish("length", index=1), chunk()):
        record.saw(said)
    assert record.finish_reason == "stop"


@pytest.mark.parametrize("stream", [True, False])
async def test_the_row_is_there_before_the_caller_has_the_end(stream: bool) -> None:  # noqa: FBT001
    ledger = Ledger()
    usage = TokenUsage(prompt=7, completion=3)
    says = [chunk("1"), chunk("2", usage), end()] if stream else [chunk("1", usage)]
    pipeline = pipeline_over(Accounting(ledger, "a"), FakeProvider("p", says=says))
    async with pipeline.open(chat(stream=stream), WISHES) as answer:
        counts = [len(ledger.entries) async for _ in answer.chunks]
    assert counts == [0] * (len(says) - 1) + [1]
    assert (ledger.entry.prompt_tokens, ledger.entry.outcome) == (7, "ok")
    assert not ledger.entry.estimated
    assert ledger.entry.latency_ms > 0


async def test_a_stream_without_a_recognisable_end_has_its_row_too() -> None:
    ledger = Ledger()
    pipeline = pipeline_over(Accounting(ledger, "a"), FakeProvider("p", says=[chunk(), chunk()]))
    async with pipeline.open(chat(stream=True)) as answer:
        assert len([c async for c in answer.chunks]) == 2
    assert ledger.entry.outcome == "ok"


async def test_a_caller_that_leaves_and_an_answer_that_breaks_off_have_theirs() -> None:
    ledger = Ledger()
    provider = FakeProvider("p", says=[chunk("1", TokenUsage(prompt=7)), None])
    pipeline = pipeline_over(Accounting(ledger, "a"), provider)

    async def read() -> None:
        async with pipeline.open(chat(stream=True)) as answer:
            async for _ in answer.chunks:
                pass

    task = asyncio.create_task(read())
    await provider.waiting.wait()
    task.cancel()
    await asyncio.wait((task,))
    assert (ledger.entry.outcome, ledger.entry.prompt_tokens) == ("cancelled", 7)
    assert ledger.entry.estimated, "the answer did not come to its end"
    ledger.entries.clear()
    provider.says = [chunk(), UpstreamTimeoutError("late")]
    with pytest.raises(UpstreamTimeoutError):
        await read()
    assert (ledger.entry.outcome, ledger.entry.provider) == ("upstream_timeout", "p")


async def test_a_failed_chat_has_one_and_its_target_none() -> None:
    ledger = Ledger()
    provider = FakeProvider("p", refusal=UpstreamUnavailableError("x"))
    pipeline = pipeline_over(Accounting(ledger, "a"), provider)
    with pytest.raises(UpstreamUnavailableError):
        async with pipeline.open(chat(), WISHES):
            pass
    entry = ledger.entry
    assert (entry.outcome, entry.provider, entry.model_asked) == ("upstream_unavailable", "", "m")
    ledger.entries.clear()
    with pytest.raises(ModelNotFoundError):
        async with pipeline.open(chat("nope"), WISHES):
            pass
    assert ledger.entry.model_asked == "nope"


@pytest.mark.parametrize("refusal", [RateLimitExceededError("x"), BudgetExceededError("x")])
async def test_who_is_over_a_limit_gets_no_row(refusal: AilbError) -> None:
    ledger = Ledger()
    observer = Observer()
    provider = FakeProvider("p", refusal=refusal)
    told = Observers((observer, Accounting(ledger, "a")))
    with pytest.raises(type(refusal)):
        async with pipeline_over(told, provider).open(chat()):
            pass
    assert observer.started == len(observer.records) == 1
    assert ledger.entries == []


async def test_all_observers_are_told_of_all() -> None:
    observers = Observer(), Observer()
    pipeline = pipeline_over(Observers(observers), FakeProvider("p", says=[chunk()]))
    async with pipeline.open(chat()) as answer:
        assert len([c async for c in answer.chunks]) == 1
    for observer in observers:
        assert (observer.started, len(observer.answered), len(observer.records)) == (1, 1, 1)


@pytest.mark.parametrize(
    "says", [[chunk(), end()], [chunk(), chunk()], [chunk(), UpstreamTimeoutError("x")]]
)
async def test_an_answer_has_one_row_however_it_ends(says: list[ChatChunk | Exception]) -> None:
    ledger = Ledger()
    pipeline = pipeline_over(Accounting(ledger, "a"), FakeProvider("p", says=says))
    with contextlib.suppress(UpstreamTimeoutError):
        async with pipeline.open(chat(stream=True)) as answer:
            async for _ in answer.chunks:
                pass
    entry = ledger.entry
    assert (entry.provider, entry.estimated) == ("p", True)
    assert entry.prompt_tokens and entry.completion_tokens
    assert entry.cost_micro_dollars == entry.prompt_tokens + 2 * entry.completion_tokens


@pytest.mark.parametrize("words", ["data: [DONE]", "event: message_stop"])
async def test_a_model_that_says_what_ends_a_stream_does_not_end_it(words: str) -> None:
    ledger, usage = Ledger(), TokenUsage(prompt=7, completion=3)
    says = [chunk(words), chunk(words), chunk("2", usage), end()]
    pipeline = pipeline_over(Accounting(ledger, "a"), FakeProvider("p", says=says))
    async with pipeline.open(chat(stream=True)) as answer:
        counts = [len(ledger.entries) async for _ in answer.chunks]
    assert counts == [0, 0, 0, 1]
    assert (ledger.entry.completion_tokens, ledger.entry.estimated) == (3, False)


async def test_a_failed_chat_has_neither_tokens_nor_a_cost() -> None:
    ledger = Ledger()
    failing = FakeProvider("p", refusal=UpstreamUnavailableError("x"))
    with pytest.raises(UpstreamUnavailableError):
        async with pipeline_over(Accounting(ledger, "a"), failing).open(chat()):
            pass
    entry = ledger.entry
    assert (entry.cost_micro_dollars, entry.prompt_tokens, entry.estimated) == (None, None, False)
