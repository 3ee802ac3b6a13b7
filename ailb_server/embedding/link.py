"""Keeps a worker alive, and brings every text that was asked of it to an end."""

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from enum import Enum
from functools import partial
from typing import Any, TypeAlias

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.embedding.frames import (
    Ask,
    Embedded,
    Frame,
    FrameError,
    Tell,
    packed,
    read_frame,
    state_of,
    vector_of,
)
from ailb_server.embedding.loading import ModelSpec
from ailb_server.embedding.process import WorkerProcess, running

# One life of a worker; leaving the context ends it.
Running: TypeAlias = Callable[[ModelSpec], AbstractAsyncContextManager[WorkerProcess]]

_PROGRESS_STEP = 10

_log = logging.getLogger(__name__)


class State(Enum):
    """What the worker does. Texts are taken in the first two: a start takes seconds at most."""

    STARTING = "starting"
    READY = "ready"
    DOWNLOADING = "downloading"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class LinkRules:
    """Seconds. A dead worker is started again after `first_pause_s`, then after twice that, up to
    `longest_pause_s`. One that answers nothing for `stall_s` is taken for dead. A text is sent
    `sends` times at most, because it may be what the worker dies of. After `quick_deaths` starts
    in a row that led to nothing, nobody waits for the next one."""

    first_pause_s: float = 0.1
    longest_pause_s: float = 300.0
    stall_s: float = 60.0
    sends: int = 2
    quick_deaths: int = 2


@dataclass(slots=True)
class _Pending:
    payload: bytes
    lane: Ask
    future: asyncio.Future[Embedded]
    sends: int = 0


class WorkerLink:
    """Texts in, futures out. `run` does the work, for as long as it is not cancelled."""

    def __init__(
        self, spec: ModelSpec, rules: LinkRules | None = None, running: Running = running
    ) -> None:
        self._spec = spec
        self._rules = rules or LinkRules()
        self._running = running
        self._ids = itertools.cycle(range(1, 1 << 32))
        self._pending: dict[int, _Pending] = {}
        self._worker: WorkerProcess | None = None
        self._failures = 0
        self._progress = -1
        self._answered_at = 0.0
        self.state = State.STARTING
        self.detail = "starting"
        self.space: EmbeddingSpace | None = None

    @property
    def pid(self) -> int | None:
        """The worker's process, while there is one."""
        return self._worker.pid if self._worker else None

    def submit(self, payload: bytes, lane: Ask) -> asyncio.Future[Embedded]:
        """The text's vector to come; cancelling it takes the text back.

        The future raises EmbedderUnavailableError, and so does the call while there is no worker.
        """
        if self.state not in {State.READY, State.STARTING}:
            raise self._unavailable()
        request = next(self._ids)
        future: asyncio.Future[Embedded] = asyncio.get_running_loop().create_future()
        pending = self._pending[request] = _Pending(payload, lane, future)
        future.add_done_callback(partial(self._settled, request))
        if self.state is State.READY:
            self._send(request, pending)
        return future

    async def run(self) -> None:
        """Starts the worker, again and again; cancelling ends it."""
        try:
            while True:
                await self._live()
                pause_s = self._rules.first_pause_s * 2.0 ** min(self._failures, 30)
                await asyncio.sleep(min(pause_s, self._rules.longest_pause_s))
        finally:
            self._enter(State.UNAVAILABLE, "closed")

    async def _live(self) -> None:
        """One life of the worker."""
        self._progress = -1
        try:
            async with self._running(self._spec) as self._worker:
                await self._listen(self._worker)
                status = await _status(self._worker)
            self._died(f"the embedding worker ended ({status})")
        except (OSError, FrameError) as error:
            self._died(f"the embedding worker cannot be used: {error}")
        except Exception:  # noqa: BLE001
            # A fault of ours must not end the restarts for good, nor pass unseen.
            _log.exception("the embedding worker's link failed")
            self._died("the link to the embedding worker failed")
        finally:
            self._worker = None

    async def _listen(self, worker: WorkerProcess) -> None:
        """Until the worker is gone, or silent for too long."""
        stall = asyncio.create_task(self._watch(worker))
        try:
            while (frame := await read_frame(worker.reader)) is not None:
                self._answered_at = asyncio.get_running_loop().time()
                self._hear(frame)
        finally:
            stall.cancel()
            await asyncio.wait([stall])

    async def _watch(self, worker: WorkerProcess) -> None:
        """Kills a worker that has texts and does not answer: a thread of it hangs, or all of it."""
        stall_s = self._rules.stall_s
        while True:
            await asyncio.sleep(stall_s / 4)
            now = asyncio.get_running_loop().time()
            if not self._pending or self.state is not State.READY:
                self._answered_at = now
            elif now - self._answered_at > stall_s:
                _log.error("the embedding worker does not answer and is killed")
                with suppress(ProcessLookupError):
                    worker.kill()

    def _hear(self, frame: Frame) -> None:
        if frame.kind == Tell.STATE:
            self._told(state_of(frame.payload))
            return
        pending = self._pending.get(frame.id)
        if pending is None or pending.future.done():
            return
        if frame.kind == Tell.VECTOR:
            pending.future.set_result(vector_of(frame.payload))
        else:
            reason = frame.payload.decode(errors="replace")
            _fail(pending, f"The embedding worker could not embed the text ({reason}).")

    def _told(self, state: dict[str, Any]) -> None:
        match state:
            case {"state": "ready", "dimension": int(dimension), "runtime": str(runtime)}:
                self.space = EmbeddingSpace(self._spec.name, dimension)
                _log.info("embeddings: %s by %s is ready", self._spec.name, runtime)
                self._failures = 0
                self._enter(State.READY, "")
                for request, pending in list(self._pending.items()):
                    self._send(request, pending)
            case {"state": "downloading", "done": int(done), "total": int(total)}:
                self._downloading(done, total)
            case {"state": "failed", "detail": str(detail)}:
                self._failures = max(self._failures, self._rules.quick_deaths)
                self._give_up(detail)

    def _downloading(self, done: int, total: int) -> None:
        percent = min(100, done * 100 // total) if total else 0
        self._enter(State.DOWNLOADING, f"downloading the model: {percent} %")
        if percent // _PROGRESS_STEP != self._progress:
            self._progress = percent // _PROGRESS_STEP
            _log.info("downloading the model %s: %d %%", self._spec.name, percent)

    def _died(self, reason: str) -> None:
        was_ready = self.state is State.READY
        self._failures = 0 if was_ready else self._failures + 1
        if self.state is State.UNAVAILABLE:
            return
        if self._failures >= self._rules.quick_deaths:
            self._give_up(reason)
            return
        _log.warning("%s; it is started again", reason)
        self._enter(State.STARTING, "restarting")
        for pending in list(self._pending.values()):
            if pending.sends >= self._rules.sends:
                _fail(pending, "The embedding worker died of it, twice.")

    def _give_up(self, reason: str) -> None:
        if reason != self.detail:
            _log.error("no embeddings: %s", reason)
        self._enter(State.UNAVAILABLE, reason)

    def _enter(self, state: State, detail: str) -> None:
        self.state, self.detail = state, detail
        if state in {State.UNAVAILABLE, State.DOWNLOADING}:
            for pending in list(self._pending.values()):
                if not pending.future.done():
                    pending.future.set_exception(self._unavailable())

    def _unavailable(self) -> EmbedderUnavailableError:
        return EmbedderUnavailableError(f"No embeddings now: {self.detail}.")

    def _send(self, request: int, pending: _Pending) -> None:
        if self._worker is None or pending.future.done():
            return
        pending.sends += 1
        self._worker.writer.write(packed(request, pending.lane, pending.payload))

    def _settled(self, request: int, future: asyncio.Future[Embedded]) -> None:
        pending = self._pending.pop(request, None)
        given_up = future.cancelled() and pending is not None and pending.sends > 0
        if given_up and self.state is State.READY and self._worker is not None:
            self._worker.writer.write(packed(request, Ask.DROP))


def _fail(pending: _Pending, message: str) -> None:
    if not pending.future.done():
        pending.future.set_exception(EmbedderUnavailableError(message))


async def _status(worker: WorkerProcess) -> str:
    """How it ended; its socket is closed, so that it is over or about to be."""
    with suppress(TimeoutError):
        return f"status {await asyncio.wait_for(worker.wait(), 2.0)}"
    return "it closed its socket"
