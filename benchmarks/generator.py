"""The load generator, a process of its own: reads orders on stdin, answers on stdout.

It must cost little beside what it measures: raw protocols, requests made once, checks after the
next request is on its way.
"""

import asyncio
import gc
import socket
import sys
import time
from collections import Counter
from contextlib import suppress
from typing import cast

import uvloop
from pydantic import TypeAdapter
from typing_extensions import override

from benchmarks.figures import latency
from benchmarks.http_answer import Answer, AnswerError
from benchmarks.load import Order, Outcome, http_request, without_identity
from benchmarks.machine import cpu_seconds

_CONNECT_S = 5.0
# How long requests in flight may take once the window is over.
_TAIL_S = 5.0
_OK = 200


class Load:
    """One order's run: what its connections share."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.request = http_request(order.port, order.body.encode())
        self.running = True
        self.recording = False
        self.latencies: list[int] = []
        self.first_bytes: list[int] = []
        self.errors: Counter[str] = Counter()
        self._expected = order.expected.encode()
        self._enough = asyncio.Event()
        self._idle = asyncio.Event()
        self._in_flight = 0

    async def run(self) -> Outcome:
        """Connects, warms up, measures, waits for what is in flight."""
        connections = await self._connect()
        for connection in connections:
            connection.send()
        await asyncio.sleep(self.order.warm_s)
        started, before = time.perf_counter(), self._cpu()
        self.recording = True
        with suppress(TimeoutError):
            await asyncio.wait_for(self._enough.wait(), self.order.window_s)
        self.recording = self.running = False
        ended, after = time.perf_counter(), self._cpu()
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
        )

    def sent(self) -> None:
        """A request is on its way."""
        self._in_flight += 1

    def answered(self, latency_ns: int, first_byte_ns: int) -> None:
        """An answer is complete; the next request may be sent."""
        if self.recording:
            self.latencies.append(latency_ns)
            self.first_bytes.append(first_byte_ns)
            if len(self.latencies) >= self.order.max_requests:
                self._enough.set()
        self._over()

    def check(self, answer: Answer) -> None:
        """Every answer must be the whole and right one."""
        if answer.status != _OK:
            self.errors[f"status {answer.status}"] += 1
        elif without_identity(answer.body()) != self._expected:
            self.errors["wrong body"] += 1

    def failed(self, why: str) -> None:
        """A connection is of no more use; its request will not be answered."""
        self.errors[why] += 1
        self._over()

    async def _connect(self) -> "list[Connection]":
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
            await asyncio.wait_for(self._idle.wait(), _TAIL_S)
        except TimeoutError:
            self.errors["unanswered"] += self._in_flight

    def _over(self) -> None:
        self._in_flight -= 1
        if not self.running and self._in_flight == 0:
            self._idle.set()

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid) for name, pid in self.order.pids.items()}


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._answer = Answer()
        self._sent_ns = 0
        self._first_ns = 0
        self._waiting = False
        self._closing = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        """Sends the next request."""
        self._answer = Answer()
        self._first_ns = 0
        self._waiting = True
        self._load.sent()
        self._sent_ns = time.perf_counter_ns()
        self._transport.write(self._load.request)

    def close(self) -> None:
        """Closes the connection; no error."""
        self._closing = True
        self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        answer = self._answer
        try:
            complete = answer.feed(data)
        except AnswerError as error:
            self._load.failed(str(error))
            self.close()
            return
        if not self._first_ns and answer.begun:
            self._first_ns = now
        if complete:
            self._waiting = False
            self._load.answered(now - self._sent_ns, self._first_ns - self._sent_ns)
            if self._load.running:
                self.send()
            self._load.check(answer)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and not self._closing:
            self._load.failed("connection closed")


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
