"""The load generator, a process of its own: reads orders on stdin, answers on stdout.

It must cost little beside what it measures: raw protocols, requests made once, checks after the
next request is on its way.
"""

import asyncio
import gc
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress

import uvloop
from pydantic import TypeAdapter

from benchmarks.arrivals import Arrivals
from benchmarks.connection import Connection
from benchmarks.figures import latency
from benchmarks.http_answer import Answer
from benchmarks.load import Order, Outcome, http_request, without_identity
from benchmarks.machine import cpu_seconds

_CONNECT_S = 5.0
_OK = 200
_COMPLETE = b'"finish_reason":"stop"'


class Load:
    """One order's run: what its connections share."""

    def __init__(self, order: Order) -> None:
        self.order = order
        bodies = order.bodies or [order.body]
        requests = [http_request(order.port, body.encode(), order.key) for body in bodies]
        self.requests: Iterator[bytes] = itertools.cycle(requests)
        self.running = True
        self.recording = False
        self.latencies: list[int] = []
        self.first_bytes: list[int] = []
        self.gaps: list[int] = []
        self.chunks = 0
        self.errors: Counter[str] = Counter()
        self._expected = None if order.expected is None else order.expected.encode()
        self._arrivals = Arrivals(order.rate, lambda: self.running) if order.rate else None
        self._enough = asyncio.Event()
        self._idle = asyncio.Event()
        self._in_flight = 0

    async def run(self) -> Outcome:
        """Connects, warms up, measures, waits for what is in flight."""
        connections = await self._connect()
        sending = asyncio.ensure_future(self._begin(connections))
        await asyncio.sleep(self.order.warm_s)
        started, before = time.perf_counter(), self._cpu()
        self.recording = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._enough.wait(), self.order.window_s)
        self.recording = self.running = False
        ended, after = time.perf_counter(), self._cpu()
        await sending
        await self._until_idle()
        for connection in connections:
            connection.close()
        return Outcome(
            done=len(self.latencies),
            window_s=ended - started,
            errors=dict(self.errors),
            latency=latency(self.latencies),
            first_byte=latency(self.first_bytes) if self.order.stream else None,
            cpu_s={name: after[name] - before[name] for name in before},
            chunks=self.chunks,
            gap=latency(self.gaps),
        )

    def sent(self) -> None:
        """A request is on its way."""
        self._in_flight += 1

    def answered(self, latency_ns: int, first_byte_ns: int) -> None:
        """An answer is complete."""
        if self.recording:
            self.latencies.append(latency_ns)
            self.first_bytes.append(first_byte_ns)
            if len(self.latencies) >= self.order.max_requests:
                self._enough.set()
        self._over()

    def free(self, connection: Connection) -> None:
        """The connection may send again."""
        if self._arrivals is not None:
            self._arrivals.free(connection)
        elif self.running:
            connection.send()

    def check(self, answer: Answer) -> None:
        """Every answer must be the whole and right one."""
        if answer.status != _OK:
            self.errors[f"status {answer.status}"] += 1
        elif self._expected is None:
            if _COMPLETE not in answer.body():
                self.errors["not complete"] += 1
        elif without_identity(answer.body()) != self._expected:
            self.errors["wrong body"] += 1

    def failed(self, why: str) -> None:
        """A connection is of no more use; its request will not be answered."""
        self.errors[why] += 1
        self._over()

    async def _begin(self, connections: list[Connection]) -> None:
        """All at once; those of paced streams spread, as callers would come; or as they arrive."""
        if self._arrivals is not None:
            await self._arrivals.run(connections)
            if self._arrivals.waiting:
                self.errors["not sent"] += self._arrivals.waiting
            return
        pause = self.order.warm_s / len(connections) if self.order.paced else 0.0
        for connection in connections:
            if not self.running:
                return
            connection.send()
            if pause:
                await asyncio.sleep(pause)

    async def _connect(self) -> list[Connection]:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(_CONNECT_S):
            opened = [
                await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.order.port)
                for _ in range(self.order.concurrency)
            ]
        return [connection for _, connection in opened]

    async def _until_idle(self) -> None:
        if self._in_flight == 0:
            return
        try:
            await asyncio.wait_for(self._idle.wait(), self.order.tail_s)
        except TimeoutError:
            self.errors["unanswered"] += self._in_flight

    def _over(self) -> None:
        self._in_flight -= 1
        if not self.running and self._in_flight == 0:
            self._idle.set()

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.order.pids.items()}


def main() -> None:
    """Serves orders until stdin ends."""
    orders, outcomes = TypeAdapter(Order), TypeAdapter(Outcome)
    for line in sys.stdin:
        order = orders.validate_json(line)
        # A collection in the window would look like the gateway's.
        gc.collect()
        gc.disable()
        outcome = uvloop.run(Load(order).run())
        gc.enable()
        sys.stdout.write(outcomes.dump_json(outcome).decode() + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
