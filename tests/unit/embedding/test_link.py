"""Whatever becomes of the worker, every text that was asked of it comes to an end."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np
import pytest

from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.embedding.frames import (
    Ask,
    Embedded,
    Frame,
    Tell,
    packed,
    packed_state,
    packed_vector,
    read_frame,
)
from ailb_server.embedding.link import LinkRules, State, WorkerLink
from ailb_server.embedding.loading import ModelSpec
from ailb_server.embedding.process import WorkerProcess

QUICK = LinkRules(first_pause_s=0.001, longest_pause_s=0.01, stall_s=0.2)
READY = packed_state(state="ready", runtime="onnx", dimension=2)


@dataclass
class Life:
    """One life of a scripted worker: what it was asked, and a hand on its mouth."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    killed: bool = False

    async def asked(self) -> Frame:
        frame = await read_frame(self.reader)
        assert frame is not None
        return frame

    def say(self, frame: bytes) -> None:
        self.writer.write(frame)

    def answer(self, frame: Frame) -> None:
        vector = np.array([len(frame.payload), 1], dtype=np.float32)
        self.say(packed_vector(frame.id, Embedded(vector, 3)))

    def die(self) -> None:
        self.writer.close()

    def kill(self) -> None:
        self.killed = True
        self.die()

    async def wait(self) -> int:
        return -9


@dataclass
class Lives:
    """Every life, as it begins."""

    begun: asyncio.Queue[Life] = field(default_factory=asyncio.Queue)
    fault: OSError | None = None

    @asynccontextmanager
    async def running(self, spec: ModelSpec) -> AsyncIterator[WorkerProcess]:
        if self.fault:
            raise self.fault
        ours, theirs = socket.socketpair()
        life = Life(*await asyncio.open_unix_connection(sock=theirs))
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        self.begun.put_nowait(life)
        try:
            yield WorkerProcess(1, reader, writer, life.kill, life.wait)
        finally:
            writer.close()
            life.die()

    async def next(self) -> Life:
        async with asyncio.timeout(5):
            return await self.begun.get()


@dataclass
class Rig:
    """A running link and its workers."""

    lives: Lives
    link: WorkerLink

    async def until(self, state: State) -> None:
        async with asyncio.timeout(5):
            while self.link.state is not state:  # noqa: ASYNC110 - the link changes it
                await asyncio.sleep(0.001)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    lives = Lives()
    link = WorkerLink(ModelSpec("some/model"), QUICK, lives.running)
    task = asyncio.create_task(link.run())
    yield Rig(lives, link)
    task.cancel()
    await asyncio.wait([task])


async def ready(rig: Rig) -> Life:
    life = await rig.lives.next()
    life.say(READY)
    await rig.until(State.READY)
    return life


async def test_a_text_waits_for_the_start_and_is_answered(rig: Rig) -> None:
    future = rig.link.submit(b"hello", Ask.QUERY)
    assert rig.link.space is None
    life = await rig.lives.next()
    life.say(packed_state(state="loading"))
    life.say(READY)
    life.answer(await life.asked())
    embedded = await future
    assert (embedded.vector.tolist(), embedded.tokens) == ([5.0, 1.0], 3)
    assert rig.link.space is not None
    assert (rig.link.space.model, rig.link.space.dimension) == ("some/model", 2)


async def test_answers_find_their_texts_in_any_order(rig: Rig) -> None:
    life = await ready(rig)
    futures = [rig.link.submit(b"x" * n, Ask.QUERY) for n in range(1, 6)]
    frames = [await life.asked() for _ in futures]
    for frame in reversed(frames):
        life.answer(frame)
    assert [int((await f).vector[0]) for f in futures] == [1, 2, 3, 4, 5]


async def test_a_death_costs_no_text(rig: Rig) -> None:
    life = await ready(rig)
    future = rig.link.submit(b"hello", Ask.BULK)
    first = await life.asked()
    life.die()
    life = await ready(rig)
    again = await life.asked()
    assert (again.payload, again.kind) == (first.payload, Ask.BULK)
    life.answer(again)
    await future


async def test_a_text_that_kills_twice_is_given_up_and_the_others_go_on(rig: Rig) -> None:
    life = await ready(rig)
    poison = rig.link.submit(b"poison", Ask.QUERY)
    for _ in range(2):
        assert (await life.asked()).payload == b"poison"
        life.die()
        life = await ready(rig)
    with pytest.raises(EmbedderUnavailableError, match="died"):
        await poison
    fine = rig.link.submit(b"fine", Ask.QUERY)
    frame = await life.asked()
    assert frame.payload == b"fine"
    life.answer(frame)
    await fine


async def test_a_worker_that_cannot_start_refuses_at_once_and_is_tried_again(rig: Rig) -> None:
    waiting = rig.link.submit(b"hello", Ask.QUERY)
    for _ in range(QUICK.quick_deaths):
        (await rig.lives.next()).die()
    with pytest.raises(EmbedderUnavailableError):
        await waiting
    await rig.until(State.UNAVAILABLE)
    with pytest.raises(EmbedderUnavailableError, match="status -9"):
        rig.link.submit(b"hello", Ask.QUERY)
    await ready(rig)
    assert rig.link.detail == ""


async def test_a_worker_that_says_why_is_believed(rig: Rig) -> None:
    waiting = rig.link.submit(b"hello", Ask.QUERY)
    life = await rig.lives.next()
    life.say(packed_state(state="failed", detail="no such model"))
    with pytest.raises(EmbedderUnavailableError, match="no such model"):
        await waiting
    life.die()
    assert (rig.link.state, rig.link.detail) == (State.UNAVAILABLE, "no such model")
    await ready(rig)


async def test_nobody_waits_for_a_download(rig: Rig) -> None:
    waiting = rig.link.submit(b"hello", Ask.QUERY)
    life = await rig.lives.next()
    life.say(packed_state(state="downloading", done=30, total=90))
    with pytest.raises(EmbedderUnavailableError, match="33 %"):
        await waiting
    assert rig.link.state is State.DOWNLOADING
    with pytest.raises(EmbedderUnavailableError):
        rig.link.submit(b"hello", Ask.QUERY)
    life.say(READY)
    await rig.until(State.READY)


async def test_what_is_cancelled_is_taken_back(rig: Rig) -> None:
    life = await ready(rig)
    future = rig.link.submit(b"hello", Ask.QUERY)
    frame = await life.asked()
    future.cancel()
    assert await life.asked() == Frame(frame.id, Ask.DROP)
    # Its answer was under way.
    life.answer(frame)
    other = rig.link.submit(b"other", Ask.QUERY)
    life.answer(await life.asked())
    await other


async def test_a_refused_text_is_an_error_of_its_own(rig: Rig) -> None:
    life = await ready(rig)
    bad, good = (rig.link.submit(text, Ask.QUERY) for text in (b"bad", b"good"))
    frame = await life.asked()
    life.say(packed(frame.id, Tell.REFUSED, b"MemoryError"))
    life.answer(await life.asked())
    with pytest.raises(EmbedderUnavailableError, match="MemoryError"):
        await bad
    await good


async def test_a_silent_worker_is_killed(rig: Rig) -> None:
    life = await ready(rig)
    future = rig.link.submit(b"hello", Ask.QUERY)
    await life.asked()
    again = await rig.lives.next()
    assert life.killed
    again.say(READY)
    again.answer(await again.asked())
    await future


async def test_an_idle_worker_is_not(rig: Rig) -> None:
    life = await ready(rig)
    # Three times as long as a worker may be silent with work.
    await asyncio.sleep(QUICK.stall_s * 3)
    assert not life.killed
    assert rig.link.state is State.READY


async def test_nonsense_ends_a_life_and_not_the_link(rig: Rig) -> None:
    life = await ready(rig)
    life.say(packed(0, Tell.STATE, b"nonsense"))
    await ready(rig)


async def test_a_process_that_cannot_be_made_is_told() -> None:
    lives = Lives(fault=OSError(12, "Cannot allocate memory"))
    link = WorkerLink(ModelSpec("some/model"), QUICK, lives.running)
    task = asyncio.create_task(link.run())
    await Rig(lives, link).until(State.UNAVAILABLE)
    assert "Cannot allocate memory" in link.detail
    task.cancel()
    await asyncio.wait([task])


async def test_the_end_ends_what_waits(rig: Rig) -> None:
    lives = Lives()
    link = WorkerLink(ModelSpec("some/model"), QUICK, lives.running)
    task = asyncio.create_task(link.run())
    life = await lives.next()
    life.say(READY)
    future = link.submit(b"hello", Ask.QUERY)
    await life.asked()
    task.cancel()
    await asyncio.wait([task])
    with pytest.raises(EmbedderUnavailableError, match="closed"):
        await future
    with pytest.raises(EmbedderUnavailableError, match="closed"):
        link.submit(b"hello", Ask.QUERY)
