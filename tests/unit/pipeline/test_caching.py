"""The response cache within the pipeline: what is looked up, kept, charged and told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from ailb_server.domain.chat import OWN_FIELDS, ChatChunk, ChatRequest, Operation, TokenUsage
from ailb_server.domain.context import Recalled, Retrieved
from ailb_server.domain.errors import AilbError, UpstreamTimeoutError
from ailb_server.domain.principal import Principal
from ailb_server.domain.repeats import CacheResult, CacheWish, OnceResult
from ailb_server.domain.route import Asker
from ailb_server.pipeline.accounting import Accounting
from ailb_server.pipeline.caching import CacheRules, CacheStage
from ailb_server.pipeline.chat import ChatAnswer
from ailb_server.pipeline.context import ContextStage
from ailb_server.pipeline.record import Observers
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.storage.answer_cache import InMemoryAnswerCache
from tests.unit.doubles import FakeProvider, Observer, chat, chunk
from tests.unit.pipeline.chats import pipeline_over
from tests.unit.pipeline.test_accounting import Ledger
from tests.unit.pipeline.test_context import DONE, SOURCE, Knowledge, Memory, last

ON = CacheWish()
SAYS = (chunk("He"), last("llo"), DONE)


@dataclass
class Seen:
    """Keeps what it is told."""

    results: list[CacheResult] = field(default_factory=list)
    once_results: list[OnceResult] = field(default_factory=list)

    def cache(self, result: CacheResult) -> None:
        self.results.append(result)

    def once(self, result: OnceResult) -> None:
        self.once_results.append(result)


class Run:
    """A pipeline with a cache over one provider."""

    def __init__(self, *says: Any, context: ContextStage | None = None, **rules: Any) -> None:
        self.provider = FakeProvider(says=says or SAYS)
        self.seen, self.observer, self.ledger = Seen(), Observer(), Ledger()
        self.cache = InMemoryAnswerCache(10, 100_000)
        stage = CacheStage(self.cache, self.destinations, self.seen, CacheRules(**rules))
        observers = Observers((self.observer, Accounting(self.ledger, "i")))
        self.pipeline = replace(
            pipeline_over(observers, self.provider), cache=stage, context=context or ContextStage()
        )
        self.answer: ChatAnswer

    def destinations(self, request: ChatRequest, asker: Asker) -> Sequence[str]:
        """As the router would tell, without routes."""
        del asker
        return ["p/m"] if request.model == "m" else []

    async def read(self, request: ChatRequest, **wishes: Any) -> list[ChatChunk]:
        wished = CallWishes(**{"cache": ON, **wishes})
        async with self.pipeline.open(request, wished) as self.answer:
            return [chunk async for chunk in self.answer.chunks]

    async def tell(self, request: ChatRequest, **wishes: Any) -> str:
        """The header."""
        await self.read(request, **wishes)
        return self.answer.cache

    @property
    def asked(self) -> int:
        return sum("open" in line for line in self.provider.log)


def cold(**fields: Any) -> ChatRequest:
    request = chat(stream=True, temperature=0, **fields)
    return replace(request, own_fields=OWN_FIELDS.intersection(fields))


async def test_the_second_answer_is_the_first_and_costs_nothing() -> None:
    run = Run()
    first = await run.read(cold())
    assert run.answer.cache == "miss"
    again = await run.read(cold())
    assert (run.answer.cache, again, run.asked) == ("hit", first, 1)
    assert (run.answer.target.provider, run.answer.target.model) == ("p", "m")
    paid, free = run.observer.records
    assert (paid.served_from, free.served_from) == ("", "cache")
    assert (free.usage, free.cost_micro_dollars, free.outcome) == (TokenUsage(), 0, "ok")
    assert paid.cost_micro_dollars
    row = run.ledger.entries[1]
    assert (row.served_from, row.cost_micro_dollars, row.prompt_tokens) == ("cache", 0, 0)
    assert (row.provider, row.finish_reason, row.estimated) == ("p", "stop", False)
    assert run.ledger.entries[0].served_from is None


async def test_who_asks_for_nothing_gets_nothing() -> None:
    run = Run()
    assert await run.tell(cold(), cache=None) == ""
    assert (run.seen.results, run.cache.entries) == ([], 0)


async def test_a_key_asks_for_all_its_requests() -> None:
    run, who = Run(), Principal(cache_ttl_s=60)
    assert await run.tell(cold(), cache=None, who=who) == "miss"
    assert await run.tell(cold(), cache=None, who=who) == "hit"
    assert await run.tell(cold(), cache=CacheWish(reads=False, stores=False), who=who) == "bypass"


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"temperature": 0}, "hit"),
        ({"temperature": 0.0}, "hit"),
        ({"seed": 0}, "hit"),
        ({"seed": 7, "temperature": 1}, "hit"),
        ({}, "bypass"),
        ({"temperature": 0.1}, "bypass"),
        ({"temperature": None}, "bypass"),
        ({"temperature": False}, "bypass"),
        ({"seed": True}, "bypass"),
        ({"seed": None}, "bypass"),
    ],
)
async def test_only_what_is_not_left_to_chance(fields: dict[str, Any], told: str) -> None:
    run = Run()
    await run.read(chat(stream=True, **fields))
    assert await run.tell(chat(stream=True, **fields)) == told


async def test_a_whole_answer_and_a_stream_are_kept_apart() -> None:
    run = Run(last("all"))
    assert await run.tell(replace(cold(), stream=False)) == "miss"
    assert await run.tell(cold()) == "miss"
    assert await run.tell(replace(cold(), stream=False)) == "hit"


async def test_no_store_reads_and_leaves_nothing() -> None:
    run, wish = Run(), CacheWish(stores=False)
    assert await run.tell(cold(), cache=wish) == "miss"
    assert run.cache.entries == 0
    await run.read(cold())
    assert await run.tell(cold(), cache=wish) == "hit"


async def test_tenants_and_strategies_are_apart() -> None:
    run = Run()
    told = [
        await run.tell(cold(), who=Principal(tenant_id=1)),
        await run.tell(cold(), who=Principal(tenant_id=2)),
        await run.tell(cold(), who=Principal(tenant_id=1, key_id=9)),
        await run.tell(cold(), who=Principal(tenant_id=1), strategy="random"),
    ]
    assert told == ["miss", "miss", "hit", "miss"]


@pytest.mark.parametrize(
    "says",
    [
        (chunk("He"), UpstreamTimeoutError("late")),
        (chunk("He"),),
        (chunk("He"), last("llo")),
        (chunk("He"), DONE),
        (replace(last(), events=({"choices": [{"finish_reason": "content_filter"}]},)), DONE),
    ],
    ids=["breaks", "begins", "no end told", "no reason", "filtered"],
)
async def test_what_is_not_a_whole_good_answer_is_not_kept(says: tuple[Any, ...]) -> None:
    run = Run(*says)
    for _ in range(2):
        try:
            assert await run.tell(cold()) == "miss"
        except UpstreamTimeoutError:
            continue
    assert (run.asked, run.cache.entries) == (2, 0)


async def test_an_error_is_not_kept() -> None:
    run = Run()
    run.provider.refusals = [UpstreamTimeoutError("late")] * 3
    with pytest.raises(AilbError):
        await run.read(cold())
    assert run.cache.entries == 0


async def test_a_reader_that_leaves_keeps_nothing_from_others() -> None:
    run = Run(chunk("He"), None)
    task = asyncio.create_task(run.read(cold()))
    await run.provider.waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert run.cache.entries == 0
    run.provider.says = SAYS
    await run.read(cold())
    # Of what is in the cache it may leave, too.
    with pytest.raises(GeneratorExit):
        await leave(run)
    assert run.observer.records[-1].cost_micro_dollars == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def leave(run: Run) -> None:
    async with run.pipeline.open(cold(), CallWishes(cache=ON)) as answer:
        assert answer.cache == "hit"
        async for _ in answer.chunks:
            raise GeneratorExit


async def test_what_a_provider_does_not_heed_makes_nothing_repeatable() -> None:
    run = Run()
    run.provider.ignored = ("seed",)
    assert await run.tell(cold()) == "miss"
    assert await run.tell(cold()) == "miss"


async def test_an_answer_too_large_is_not_kept() -> None:
    run = Run(max_answer_bytes=50)
    await run.read(cold())
    assert run.cache.entries == 0


async def test_an_unknown_model_is_the_routers_to_tell() -> None:
    run = Run()
    with pytest.raises(AilbError):
        await run.read(replace(cold(), model="nope"))
    assert run.seen.results == ["bypass"]


async def test_embeddings_are_repeatable_by_nature() -> None:
    run = Run()
    request = replace(chat(), operation=Operation.EMBEDDING)
    with pytest.raises(AilbError):
        # The double has none; the look is what counts.
        await run.read(request)
    assert run.seen.results == ["miss"]


async def test_within_a_session_nothing_is_given_again() -> None:
    memory = Memory(Recalled())
    run = Run(context=ContextStage(memory=memory))
    for _ in range(2):
        assert await run.tell(cold(), session_id="s") == "bypass"
    assert len(memory.kept) == run.asked == 2


async def test_knowledge_counts_as_it_was_found() -> None:
    knowledge = Knowledge(Retrieved("Lamps are red.", (SOURCE,)))
    run = Run(context=ContextStage(knowledge=knowledge))
    first = await run.read(cold(rag_collection="manuals"))
    assert await run.read(cold(rag_collection="manuals")) == first
    assert (run.answer.cache, run.answer.sources, run.asked) == ("hit", (SOURCE,), 1)
    knowledge.found = Retrieved("Lamps are blue.", (SOURCE,))
    assert await run.tell(cold(rag_collection="manuals")) == "miss"
    knowledge.found = Retrieved(degraded=True)
    assert await run.tell(cold(rag_collection="manuals")) == "bypass"
