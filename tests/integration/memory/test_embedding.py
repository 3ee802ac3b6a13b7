"""Turns get their vectors later, in one space for a tenant; a change of it is said and mended."""

import asyncio
import logging

import numpy as np
import pytest

from ailb_server.domain.embedding import Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.memory_queries import Embedded
from ailb_server.domain.principal import ANYONE, Principal
from ailb_server.storage.pool import Store
from tests.integration.memory.instance import Instance, until
from tests.integration.memory.test_recalling import DOG, fill
from tests.support.conversations import assistant, exchange, tool, user
from tests.support.hashing_embedder import HashingEmbedder

UNEMBEDDED = "SELECT text FROM turns WHERE embedding IS NULL ORDER BY turn"


async def reindexed(memory: Instance, who: Principal = ANYONE) -> list[Embedded]:
    return [step async for step in memory.reindexing.run(who)]


async def test_words_are_embedded_and_nothing_else(memory: Instance) -> None:
    await memory.remember(
        exchange(user("weather?"), said=assistant(None, "c")),
        exchange(tool("c", "sun"), said="Sunny."),
        exchange(user("  "), said=""),
    )
    assert await memory.embedding.catch_up() == 2
    assert sorted(memory.embedder.asked) == ["Sunny.", "weather?"]
    assert await memory.embedding.catch_up() == 0
    (space,) = await memory.fetch("SELECT model, dimension, normalised FROM memory_spaces")
    assert tuple(space) == ("hashing", 64, True)


async def test_the_task_embeds_what_is_remembered(memory: Instance) -> None:
    memory.memory.start()
    await memory.remember(exchange(user("hello")))
    await until(lambda: memory.watching.vectors == 2, "both are embedded")
    assert await memory.fetch(UNEMBEDDED) == []
    assert memory.watching.vectors == 2


async def test_instances_share_the_work(memory: Instance, store: Store) -> None:
    for n in range(40):
        await memory.remember(exchange(user(f"q{n}"), session=f"s{n % 7}"))
    second = Instance(store)
    counts = await asyncio.gather(memory.embedding.catch_up(), second.embedding.catch_up())
    assert sum(counts) == 80
    assert len(memory.embedder.asked) + len(second.embedder.asked) == 80
    assert await memory.fetch(UNEMBEDDED) == []


async def test_an_embedder_that_fails_leaves_the_turns_for_later(memory: Instance) -> None:
    await memory.remember(exchange(user("hello")))
    memory.embedder.down = True
    with pytest.raises(EmbedderUnavailableError):
        await memory.embedding.catch_up()
    memory.embedder.down = False
    assert await memory.embedding.catch_up() == 2


async def test_a_text_without_a_usable_vector_is_not_tried_for_ever(
    memory: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(text: str) -> Vector:
        return np.full(64, np.nan if text == "bad" else 1, dtype=np.float32)

    monkeypatch.setattr(memory.embedder, "vector", broken)
    await memory.remember(exchange(user("bad"), said="good"))
    assert await memory.embedding.catch_up() == 1
    assert await memory.embedding.catch_up() == 0
    rows = await memory.fetch("SELECT text FROM turns WHERE NOT embeddable")
    assert [row["text"] for row in rows] == ["bad"]


async def test_another_model_turns_similarity_off_until_a_reindex(
    memory: Instance, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await fill(memory)
    changed = Instance(store, HashingEmbedder("better", dimension=32))
    await changed.remember(exchange(user("new one")))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert await changed.embedding.catch_up() == 0, "nothing is mixed"
    wanted = "embedded by hashing (64), configured better (32): run `ailb memory reindex`"
    assert changed.memory.problem() == wanted
    assert [record.getMessage() for record in caplog.records] == [
        f"memory: similarity is off or partial: {wanted}"
    ]
    question = user("What is my dog called?")
    recalled = await changed.recall(question)
    assert len(recalled.turns) == 20
    assert not recalled.degraded
    assert recalled.similar is None

    steps = await reindexed(changed)
    assert (steps[0], steps[-1]) == (Embedded(0, 64), Embedded(64, 64))
    assert [step.done for step in steps] == sorted(step.done for step in steps)
    await changed.embedding.catch_up()
    assert changed.memory.problem() == ""
    recalled = await changed.recall(question)
    assert DOG in (recalled.similar or "")
    assert (await memory.recall(question)).similar is None, "the old model's vectors fit no more"


async def test_a_reindex_that_is_interrupted_goes_on_where_it_was(
    memory: Instance, store: Store
) -> None:
    await fill(memory)
    changed = Instance(store, HashingEmbedder("better", dimension=32))
    steps = changed.reindexing.run(ANYONE)
    assert await anext(steps) == Embedded(0, 62)
    assert await anext(steps) == Embedded(16, 62)
    await steps.aclose()
    await changed.embedding.catch_up()
    assert changed.memory.problem() == "re-embedding has not ended: run `ailb memory reindex`"
    again = await reindexed(changed)
    assert (again[0], again[-1]) == (Embedded(16, 62), Embedded(62, 62))
    assert len(changed.embedder.asked) == 62
    assert await reindexed(changed) == [Embedded(62, 62)]


async def test_a_reindex_is_its_tenant_s(memory: Instance, store: Store, other: Principal) -> None:
    await memory.remember(exchange(user("mine")), exchange(user("theirs"), who=other))
    await memory.embedding.catch_up()
    changed = Instance(store, HashingEmbedder("better", dimension=32))
    assert (await reindexed(changed, other))[-1] == Embedded(2, 2)
    rows = await memory.fetch("SELECT tenant_id, model FROM memory_spaces ORDER BY 1")
    assert [tuple(row) for row in rows] == [(1, "hashing"), (2, "better")]


async def test_without_an_embedder_a_reindex_says_so(memory: Instance) -> None:
    memory.embedder.space = None
    with pytest.raises(EmbedderUnavailableError):
        await reindexed(memory)


async def test_vectors_that_are_too_long_are_not_stored(memory: Instance) -> None:
    memory.embedder = HashingEmbedder("huge", dimension=4096)
    changed = Instance(memory.store, memory.embedder)
    await changed.remember(exchange(user("hello")))
    assert await changed.embedding.catch_up() == 0
    assert "4096 dimensions" in changed.memory.problem()


async def test_the_longest_vectors_fit_beside_a_long_text(store: Store) -> None:
    memory = Instance(store, HashingEmbedder("long", dimension=3800))
    await memory.remember(exchange(user("word " * 20_000), said=assistant("x" * 1900, "c")))
    assert await memory.embedding.catch_up() == 2
