"""Idempotency-Key: who is answered, what becomes of the claim, and what is charged."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ailb_server.domain.admission import Admitted
from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.errors import (
    AilbError,
    IdempotencyConflictError,
    IdempotencyKeyReusedError,
    IdempotentAnswerNotKeptError,
    PermissionDeniedError,
    RateLimitExceededError,
    StorageUnavailableError,
    UpstreamTimeoutError,
)
from ailb_server.domain.principal import Principal
from ailb_server.domain.repeats import CacheWish
from ailb_server.domain.route import Asker
from ailb_server.pipeline.accounting import Accounting
from ailb_server.pipeline.admission import Unlimited
from ailb_server.pipeline.chat import ChatAnswer
from ailb_server.pipeline.holding import HoldingRules
from ailb_server.pipeline.once import OnceOnly
from ailb_server.pipeline.record import Observers
from ailb_server.pipeline.wishes import CallWishes
from tests.support.once_store import InMemoryOnceStore
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import pipeline_over
from tests.unit.pipeline.test_accounting import Ledger
from tests.unit.pipeline.test_caching import Seen
from tests.unit.pipeline.test_context import DONE, last

SAYS = (chunk("He"), last("llo"), DONE)


@dataclass
class Desk:
    """Counts those that it lets in again."""

    refusal: AilbError | None = None
    let_in: list[Principal] = field(default_factory=list)

    async def readmit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        if self.refusal is not None:
            raise self.refusal
        self.let_in.append(who)
        return Unlimited()


class Run:
    """Chats over one provider, and who is told of them."""

    def __init__(self, *says: Any, **rules: Any) -> None:
        self.provider = FakeProvider(says=says or SAYS)
        self.store, self.seen, self.desk = InMemoryOnceStore(), Seen(), Desk()
        self.observer, self.ledger = Observer(), Ledger()
        observers = Observers((self.observer, Accounting(self.ledger, "i")))
        times = {"renew_every_s": 0.01, "store_s": 0.05, "pause_s": 0.01}
        self.chats = OnceOnly(
            pipeline_over(observers, self.provider),
            self.desk,
            self.store,
            self.seen,
            HoldingRules(**{**times, **rules}),
        )
        self.answer: ChatAnswer

    async def read(
        self, request: ChatRequest | None = None, key: str | None = "k", **wishes: Any
    ) -> list[ChatChunk]:
        wished = CallWishes(idempotency_key=key, **wishes)
        async with self.chats.open(request or chat(stream=True), wished) as self.answer:
            return [chunk async for chunk in self.answer.chunks]

    @property
    def asked(self) -> int:
        return sum("open" in line for line in self.provider.log)

    async def held(self) -> "asyncio.Task[list[ChatChunk]]":
        """A request that waits for its provider."""
        task = asyncio.create_task(self.read())
        await self.provider.waiting.wait()
        return task


async def until(condition: Callable[[], bool]) -> None:
    """Waits for it; bounded."""
    ends = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < ends
        await asyncio.sleep(0.001)


async def test_without_a_key_nothing_is_asked_of_the_store() -> None:
    run = Run()
    run.store.away = True
    assert await run.read(key=None) == list(SAYS)
    assert run.seen.once_results == []


async def test_the_second_answer_is_the_first_and_costs_nothing() -> None:
    run = Run()
    first = await run.read()
    assert not run.answer.replayed
    assert await run.read() == first
    assert (run.answer.replayed, run.answer.cache, run.asked) == (True, "", 1)
    assert run.seen.once_results == ["first", "replayed"]
    assert len(run.desk.let_in) == 1
    paid, free = run.ledger.entries
    assert (paid.served_from, free.served_from) == (None, "replay")
    assert (free.cost_micro_dollars, free.prompt_tokens, free.finish_reason) == (0, 0, "stop")
    assert paid.cost_micro_dollars
    assert run.observer.records[1].usage == TokenUsage()


async def test_whole_answers_too() -> None:
    run = Run(last("all"))
    assert await run.read(chat()) == await run.read(chat())
    assert run.asked == 1


async def test_the_cache_was_not_asked_for_a_replay() -> None:
    run = Run()
    for _ in range(2):
        await run.read(cache=CacheWish())
    assert run.answer.cache == "bypass"


async def test_other_keys_and_callers_are_others() -> None:
    run = Run()
    await run.read()
    await run.read(key="other")
    await run.read(who=Principal(key_id=5))
    await run.read(who=Principal(tenant_id=5))
    assert run.asked == 4


async def test_another_body_is_refused() -> None:
    run = Run()
    await run.read()
    with pytest.raises(IdempotencyKeyReusedError):
        await run.read(chat("m", stream=True, seed=1))
    assert run.seen.once_results == ["first", "reused"]
    assert run.observer.records[-1].outcome == "idempotency_key_reused"


async def test_while_it_runs_others_are_told_so_without_a_row() -> None:
    run = Run(chunk("He"), None)
    task = await run.held()
    with pytest.raises(IdempotencyConflictError) as refused:
        await run.read()
    assert refused.value.retry_after_s == 1
    assert run.ledger.entries == []
    task.cancel()
    await asyncio.wait((task,))


@pytest.mark.parametrize(
    "says",
    [(UpstreamTimeoutError("late"),), (chunk("He"), UpstreamTimeoutError("late"))],
    ids=["fails", "breaks"],
)
async def test_a_failure_leaves_the_key_to_the_next(says: tuple[Any, ...]) -> None:
    run = Run(*says)
    with pytest.raises(UpstreamTimeoutError):
        await run.read()
    assert run.store.rows == {}
    run.provider.says = SAYS
    assert await run.read() == list(SAYS)


async def test_a_caller_who_leaves_leaves_the_key() -> None:
    run = Run(chunk("He"), None)
    task = await run.held()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.store.rows == {}
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_caller_who_leaves_at_the_end_has_been_answered() -> None:
    run = Run()
    with pytest.raises(GeneratorExit):
        async with run.chats.open(chat(stream=True), CallWishes(idempotency_key="k")) as answer:
            async for said in answer.chunks:
                if said is DONE:
                    raise GeneratorExit
    assert await run.read() == list(SAYS)
    assert run.asked == 1


async def test_a_stream_without_a_told_end_is_whole_when_it_ends() -> None:
    run = Run(chunk("He"))
    await run.read()
    assert await run.read() == [chunk("He")]
    assert run.asked == 1


async def test_a_claim_is_renewed_while_it_runs() -> None:
    run = Run(chunk("He"), None)
    task = await run.held()
    await until(lambda: run.store.renewals >= 2)
    run.store.away = True
    tries = run.store.refused
    await until(lambda: run.store.refused > tries)
    run.store.away = False
    before = run.store.renewals
    await until(lambda: run.store.renewals > before)
    task.cancel()
    await asyncio.wait((task,))


async def test_without_the_store_it_is_refused() -> None:
    run = Run()
    run.store.away = True
    with pytest.raises(StorageUnavailableError, match="Idempotency-Key"):
        await run.read()
    assert run.asked == 0
    assert run.observer.records[-1].outcome == "storage_unavailable"


async def test_an_answer_is_given_though_it_cannot_be_kept() -> None:
    run = Run(chunk("He"), 0.05, last("llo"), DONE)
    task = asyncio.create_task(run.read())
    await until(lambda: run.asked == 1)
    run.store.away = True
    assert await task == [chunk("He"), last("llo"), DONE]
    assert run.seen.once_results == ["first", "lost"]
    run.store.away = False
    # It was billed: whoever comes must wait for the lease, rather than run at once.
    with pytest.raises(IdempotencyConflictError):
        await run.read()


async def test_an_answer_waits_for_a_store_that_is_away_for_a_moment() -> None:
    run = Run(chunk("He"), 0.02, last("llo"), DONE, store_s=5.0, renew_every_s=60.0)
    task = asyncio.create_task(run.read())
    await until(lambda: run.asked == 1)
    run.store.away = True
    await until(lambda: run.store.refused >= 2)
    run.store.away = False
    await task
    assert (await run.read(), run.asked) == ([chunk("He"), last("llo"), DONE], 1)


async def test_a_claim_that_was_lost_is_told() -> None:
    run = Run(chunk("He"), 0.05, last("llo"), DONE)
    task = asyncio.create_task(run.read())
    await until(lambda: run.asked == 1)
    run.store.rows.clear()
    await task
    assert run.seen.once_results == ["first", "lost"]


async def test_what_is_too_large_is_answered_once_and_not_again() -> None:
    run = Run(max_answer_bytes=20)
    await run.read()
    with pytest.raises(IdempotentAnswerNotKeptError):
        await run.read()
    assert run.asked == 1


async def test_a_replay_counts_as_a_request() -> None:
    run = Run()
    await run.read()
    run.desk.refusal = RateLimitExceededError("Slower.")
    with pytest.raises(RateLimitExceededError):
        await run.read()


async def test_a_model_that_the_key_may_not_use_is_not_claimed() -> None:
    run = Run()
    with pytest.raises(PermissionDeniedError):
        await run.read(who=Principal(allowed_models=("other",)))
    assert run.store.rows == {}


async def test_an_embeddings_request_of_the_same_bytes_is_another() -> None:
    run = Run(last("all"))
    await run.read(chat())
    with pytest.raises(IdempotencyKeyReusedError):
        await run.read(replace(chat(), wire="anthropic"))
