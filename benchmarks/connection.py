"""One connection of the load generator."""

import asyncio
import socket
import time
from collections.abc import Iterator
from typing import Protocol, cast

from typing_extensions import override

from benchmarks.http_answer import Answer, AnswerError
from benchmarks.load import Order

_EVENT = b"data: "


class Run(Protocol):
    """What connections share and tell."""

    order: Order
    requests: Iterator[bytes]
    recording: bool
    chunks: int
    gaps: list[int]

    def sent(self) -> None:
        """A request is on its way."""

    def answered(self, latency_ns: int, first_byte_ns: int) -> None:
        """An answer is complete."""

    def free(self, connection: "Connection") -> None:
        """The connection may send again."""

    def check(self, answer: Answer) -> None:
        """Looks whether it is the right one."""

    def failed(self, why: str) -> None:
        """A connection is of no more use; its request will not be answered."""


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in flight."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._answer = Answer()
        self._sent_ns = 0
        self._first_ns = 0
        self._last_ns = 0
        self._waiting = False
        self._closing = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        connected: socket.socket = transport.get_extra_info("socket")
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, since_ns: int = 0) -> None:
        """Sends the next request; `since_ns` is when it should have been sent, if not now."""
        self._answer = Answer()
        self._first_ns = 0
        self._waiting = True
        self._run.sent()
        self._sent_ns = since_ns or time.perf_counter_ns()
        self._transport.write(next(self._run.requests))

    def close(self) -> None:
        """Closes the connection; no error."""
        self._closing = True
        self._transport.abort()

    @override
    def data_received(self, data: bytes) -> None:
        now = time.perf_counter_ns()
        answer, run = self._answer, self._run
        try:
            complete = answer.feed(data)
        except AnswerError as error:
            self._waiting = False
            run.failed(str(error))
            self.close()
            return
        if run.order.stream and run.recording:
            self._count(data, now)
        if not self._first_ns and answer.begun:
            self._first_ns = now
        self._last_ns = now
        if complete:
            self._waiting = False
            run.answered(now - self._sent_ns, self._first_ns - self._sent_ns)
            run.free(self)
            run.check(answer)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and not self._closing:
            self._run.failed("connection closed")

    def _count(self, data: bytes, now: int) -> None:
        self._run.chunks += data.count(_EVENT)
        if self._run.order.paced and self._first_ns:
            self._run.gaps.append(now - self._last_ns)
