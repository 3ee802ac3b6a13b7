"""The stage of an import that embeds, with an embedder that is held back."""

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import numpy as np
import pytest

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.imports import GivenDocument, ImportItem
from ailb_server.knowledge.extraction.chunking import Piece
from ailb_server.knowledge.extraction.cutting import CutDocument
from ailb_server.knowledge.import_embedding import EmbeddingStage
from ailb_server.knowledge.import_queue import WorkRules
from ailb_server.knowledge.import_stages import Cut, Line, together

RULES = WorkRules(batch_texts=4, calls_at_once=2)


class Held:
    """An embedder whose calls end when they are let."""

    space = EmbeddingSpace("held", 1)

    def __init__(self) -> None:
        self.asked: list[list[str]] = []
        self.given_up = 0
        self.let = asyncio.Semaphore(0)
        self.down = False

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        self.asked.append(list(texts))
        try:
            await self.let.acquire()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        if self.down:
            raise EmbedderUnavailableError("It is down.")
        return [np.array([float(text)], dtype=np.float32) for text in texts]


def cut(first: int, pieces: int) -> Cut:
    given = GivenDocument(str(first), b"", "text/plain", "")
    item = ImportItem(first, 1, uuid4(), 1, "docs", given, 1)
    texts = [str(first + n) for n in range(pieces)]
    return Cut(item, CutDocument("", 0, [Piece(text, 0) for text in texts]))


def lines(*cuts: Cut) -> tuple[Line, Line]:
    source: Line = asyncio.Queue()
    for each in (*cuts, None):
        source.put_nowait(each)
    return source, asyncio.Queue()


async def turns() -> None:
    """Lets every task go as far as it can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_the_next_batch_waits_at_the_embedder_and_no_more_than_that() -> None:
    held = Held()
    source, sink = lines(cut(0, 3), cut(10, 9), cut(20, 1))
    stage = asyncio.create_task(EmbeddingStage(held, source, sink, RULES).run())
    await turns()
    assert held.asked == [["0", "1", "2", "10"], ["11", "12", "13", "14"]]
    held.let.release()
    await turns()
    assert len(held.asked) == 3
    # What has all of its vectors is stored while the others are embedded.
    first = sink.get_nowait()
    assert first is not None
    assert [float(vector[0]) for vector in first.vectors] == [0, 1, 2]
    assert sink.empty()
    for _ in range(3):
        held.let.release()
    await stage
    rest = [sink.get_nowait() for _ in range(3)]
    assert [each and each.item.id for each in rest] == [10, 20, None]
    assert all(each is None or each.is_whole for each in rest)


async def test_what_waits_for_its_turn_becomes_one_batch() -> None:
    held = Held()
    source, sink = asyncio.Queue[Cut | None](), asyncio.Queue[Cut | None]()
    stage = asyncio.create_task(EmbeddingStage(held, source, sink, RULES).run())
    for each in (cut(0, 1), cut(1, 1), cut(2, 1), cut(3, 1), cut(4, 1), None):
        source.put_nowait(each)
        await turns()
    for _ in range(3):
        held.let.release()
    await stage
    assert held.asked == [["0"], ["1"], ["2", "3", "4"]]


@pytest.mark.parametrize("how", ["cancelled", "down"])
async def test_no_call_is_left_behind(how: str) -> None:
    held = Held()
    source, sink = lines(cut(0, 12))
    stage = asyncio.create_task(EmbeddingStage(held, source, sink, RULES).run())
    await turns()
    if how == "cancelled":
        stage.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stage
        assert held.given_up == 2
    else:
        held.down = True
        held.let.release()
        with pytest.raises(EmbedderUnavailableError):
            await stage
        assert held.given_up >= 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_the_first_failure_of_a_stage_ends_the_others() -> None:
    ended = asyncio.Event()

    async def endless() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    async def failing() -> None:
        raise EmbedderUnavailableError("It is down.")

    with pytest.raises(EmbedderUnavailableError):
        await together(endless(), failing())
    assert ended.is_set()
