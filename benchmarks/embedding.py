"""`python -m benchmarks.embedding`: what the embedding worker gives, and what it costs the gateway.

Prints figures and ratios. See benchmarks/README.md.
"""

import argparse
import asyncio
import itertools
import os
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

import orjson

from ailb_server.embedding.encoder import unit
from ailb_server.embedding.link import WorkerLink
from ailb_server.embedding.loading import ModelSpec, Runtime, load
from ailb_server.embedding.local import LocalEmbedder, LocalRules
from benchmarks.machine import cpu_model
from tests.support.embedding import Silent, model_at, until_ready

_WINDOWS = 7
_CALLERS = 16
# Enough to keep the worker busy.
_SATURATING = 4
_HOPS = 200
_TOKENS = (8, 30, 200)
_WORDS = ("cats", "dogs", "sun", "moon", "tea", "rain", "book", "song", "road", "bread")
# A chunk of a stream, which the loop reads and writes again, about as a relay does.
_CHUNK = orjson.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "some words"}, "finish_reason": None}],
    }
)
_CHUNKS_A_UNIT = 20


@dataclass(frozen=True, slots=True)
class Window:
    """The event loop's own work meanwhile: units a second and a second of this thread's CPU time,
    which other processes take nothing of; and what the slow ones took, in µs."""

    rate: float
    cpu_rate: float
    p99_us: float
    p999_us: float


@dataclass
class Bench:
    """One worker; every text is a new one."""

    embedder: LocalEmbedder
    seconds: float
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def text(self, tokens: int) -> str:
        """About so many tokens: two frame every text, and about two are its number."""
        words = itertools.islice(itertools.cycle(_WORDS), max(1, tokens - 4))
        return f"{next(self.numbers)} {' '.join(words)}"

    async def rate(self, tokens: int, callers: int) -> float:
        """Texts a second, of so many callers that ask for one at a time."""
        done = 0
        end = time.perf_counter() + self.seconds

        async def call() -> None:
            nonlocal done
            while time.perf_counter() < end:
                await self.embedder.embed([self.text(tokens)])
                done += 1

        started = time.perf_counter()
        await asyncio.gather(*(call() for _ in range(callers)))
        return done / (time.perf_counter() - started)

    async def bulk_rate(self, tokens: int) -> float:
        """Texts a second, of one import."""
        texts = [self.text(tokens) for _ in range(max(32, int(self.seconds * 6_000 / tokens)))]
        started = time.perf_counter()
        await self.embedder.bulk.embed(texts)
        return len(texts) / (time.perf_counter() - started)

    async def query_ms(self, tokens: int) -> float:
        """The median of one caller's queries."""
        taken = []
        for _ in range(_HOPS):
            text = self.text(tokens)
            started = time.perf_counter()
            await self.embedder.embed([text])
            taken.append(time.perf_counter() - started)
        return statistics.median(taken) * 1000

    @asynccontextmanager
    async def saturated(self) -> AsyncIterator[None]:
        """The worker has always something to do."""

        async def call() -> None:
            while True:
                await self.embedder.embed([self.text(30)])

        callers = [asyncio.create_task(call()) for _ in range(_SATURATING)]
        try:
            yield
        finally:
            for caller in callers:
                caller.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*callers)

    async def window(self) -> Window:
        """Works, and yields to the loop after each unit, as a busy gateway does."""
        taken: list[float] = []
        cpu_started = time.thread_time()
        started = last = time.perf_counter()
        while last - started < self.seconds:
            for _ in range(_CHUNKS_A_UNIT):
                orjson.dumps(orjson.loads(_CHUNK))
            await asyncio.sleep(0)
            now = time.perf_counter()
            taken.append(now - last)
            last = now
        cuts = statistics.quantiles(taken, n=1000)
        cpu_s = time.thread_time() - cpu_started
        rate = len(taken) / (last - started)
        return Window(rate, len(taken) / cpu_s, cuts[989] * 1e6, cuts[998] * 1e6)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.embedding", description=__doc__)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each window")
    parser.add_argument("--model", type=Path, help="a directory; default: the tests' model")
    parser.add_argument("--runtime", default="onnx", choices=get_args(Runtime))
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as cache:
        spec = ModelSpec(str(options.model or model_at(Path(cache))), None, options.runtime)
        print(f"{cpu_model()}; {os.cpu_count()} CPUs; {options.runtime}")
        asyncio.run(_measure(spec, options.seconds))
    return 0


async def _measure(spec: ModelSpec, seconds: float) -> None:
    embedder = LocalEmbedder(WorkerLink(spec), Silent(), LocalRules(query_s=60, cache_bytes=0))
    bench = Bench(embedder, seconds)
    started = time.perf_counter()
    embedder.start()
    try:
        await until_ready(embedder)
        print(f"ready after {time.perf_counter() - started:.2f} s")
        await _speed(bench)
        await _hop(bench, spec)
        await _loop(bench)
        await _death(bench)
    finally:
        await embedder.close()


async def _speed(bench: Bench) -> None:
    for tokens in _TOKENS:
        one, many = await bench.rate(tokens, 1), await bench.rate(tokens, _CALLERS)
        bulk = await bench.bulk_rate(tokens)
        print(
            f"{tokens:3} tokens: {one:6.1f} texts/s for 1 caller, {many:6.1f} for {_CALLERS}"
            f" ({many / one:.2f} x), {bulk:6.1f} in bulk"
        )


async def _hop(bench: Bench, spec: ModelSpec) -> None:
    """The same texts by the worker and by the encoder in this process."""
    _, encoder = load(spec, lambda done, total: None)
    inline = []
    by_worker = await bench.query_ms(8)
    for _ in range(_HOPS):
        text = bench.text(8)
        started = time.perf_counter()
        encoder.count(text)
        unit(encoder.encode([text]))
        inline.append(time.perf_counter() - started)
    here = statistics.median(inline) * 1000
    print(f"a query of 8 tokens: {by_worker:.2f} ms; {here:.2f} without the worker")
    print(f"the hop: {by_worker - here:.2f} ms (aim 0.3)")


async def _loop(bench: Bench) -> None:
    """Idle and saturated windows take turns, so that a disturbance hits both."""
    idle: list[Window] = []
    busy: list[Window] = []
    for _ in range(_WINDOWS):
        idle.append(await bench.window())
        async with bench.saturated():
            busy.append(await bench.window())
    work = _ratio([w.rate for w in busy], [w.rate for w in idle])
    cpu = _ratio([w.cpu_rate for w in busy], [w.cpu_rate for w in idle])
    p99 = _ratio([w.p99_us for w in busy], [w.p99_us for w in idle])
    p999 = _ratio([w.p999_us for w in busy], [w.p999_us for w in idle])
    print(
        f"the event loop beside a saturated worker: {100 * (work - 1):+.1f} % work (aim -3 %),"
        f" {100 * (cpu - 1):+.1f} % for its CPU time, p99 {p99:.2f} x, p99.9 {p999:.2f} x (aim 2 x)"
    )


async def _death(bench: Bench) -> None:
    pid = bench.embedder.worker_pid
    if pid is None:
        return
    os.kill(pid, signal.SIGKILL)
    started = time.perf_counter()
    await bench.embedder.embed([bench.text(8)])
    print(f"answered {time.perf_counter() - started:.2f} s after kill -9")


def _ratio(ours: Sequence[float], base: Sequence[float]) -> float:
    """The median of the pairs' ratios."""
    return statistics.median(a / b for a, b in zip(ours, base, strict=True))


if __name__ == "__main__":
    raise SystemExit(main())
