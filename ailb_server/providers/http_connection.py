"""One HTTP/1.1 connection to a provider: one exchange at a time, parsed by llhttp (httptools).

Written for the one thing that every request needs: on a small chat it takes a fifth of the CPU time
of a general client. See docs/decisions/0013-http-client.md.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from typing_extensions import override

MAX_HEAD_BYTES = 64 * 1024
# What is read ahead of who reads it, before the sender is made to wait.
_READ_AHEAD_BYTES = 256 * 1024
_SMALL_BODY_BYTES = 16 * 1024
_INTERIM = range(100, 200)
_BODILESS = (204, 304)


class BrokenError(Exception):
    """The connection ended before the answer did; `unread`: before any byte of it."""

    def __init__(self, *, unread: bool = False) -> None:
        super().__init__("connection ended")
        self.unread = unread


class MalformedError(Exception):
    """What came is not HTTP/1.1."""


class Connection(asyncio.Protocol):
    """`send`, then `head`, then `read` until it is empty; then it may `send` again if `reusable`.
    `linger` instead of the last reads.

    Every wait is bounded by `deadline` (of the loop's clock), which may be moved meanwhile.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._parser = HttpResponseParser(self)
        # As other clients: servers that end lines with LF alone are still about.
        self._parser.set_dangerous_leniencies(
            lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pieces: deque[bytes] = deque()
        self._ahead = 0
        self._head_bytes = 0
        self._running = self._awaiting_head = self._sized = self._paused = False
        self._failure: Exception | None = None
        self._lingering: Callable[[Connection], None] | None = None
        self._unread = True
        self._surplus = self._keep_alive = False
        self._ends_at = 0.0
        self.answers = 0
        self.idle_since = 0.0
        self.lost = False
        self.complete = False
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []

    @property
    def reusable(self) -> bool:
        """Whether another request may follow: the answer is whole and read, the request sent."""
        transport = self._transport
        return (
            self.complete
            # What was left unread would be the beginning of the next answer.
            and not self._pieces
            and not self.lost
            and self._failure is None
            and not self._surplus
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
            and self._keep_alive
        )

    def send(self, head: bytes, body: bytes | None, deadline: float) -> None:
        """Begins an exchange. Raises BrokenError."""
        transport = self._transport
        if self.lost or transport is None or transport.is_closing():
            raise BrokenError(unread=True)
        self._running, self._awaiting_head, self.complete, self._unread = True, True, False, True
        self._keep_alive = False
        self.status, self._head_bytes, self._sized = 0, 0, False
        self.headers = []
        self._pieces.clear()
        self._ahead = 0
        self.wait_until(deadline)
        if body is None:
            transport.write(head)
        elif len(body) <= _SMALL_BODY_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def wait_until(self, deadline: float) -> None:
        """Moves the deadline."""
        self._ends_at = deadline
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._time_up)
        elif deadline < self._timer.when():
            self._timer.cancel()
            self._timer = self._loop.call_at(deadline, self._time_up)

    async def head(self) -> None:
        """Returns once `status` and `headers` are there. Raises as `read`."""
        while self._awaiting_head:
            await self._more()

    async def read(self) -> bytes:
        """What has come of the body; empty at its end.

        Raises TimeoutError, BrokenError or MalformedError.
        """
        pieces = self._pieces
        while not pieces:
            if self.complete:
                return b""
            await self._more()
        data = pieces.popleft() if len(pieces) == 1 else b"".join(pieces)
        self._drop()
        return data

    @property
    def at_end(self) -> bool:
        """Whether the whole body has been read."""
        return self.complete and not self._pieces

    def rest(self) -> None:
        """The exchange is over and another may come, or none."""
        self._running = False
        self.answers += 1
        self.idle_since = self._loop.time()

    def linger(self, deadline: float, over: Callable[["Connection"], None]) -> None:
        """Drops what still comes; `over` is called at the answer's end, or at the deadline."""
        self.wait_until(deadline)
        self._lingering = over
        self._wake()

    def abort(self) -> None:
        """Ends the connection now: what the provider still does is for nobody."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    async def _more(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._loop.time() >= self._ends_at:
            raise TimeoutError
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
        if self._failure is not None and not self._pieces:
            raise self._failure

    def _time_up(self) -> None:
        self._timer = None
        if not self._running:
            return
        if self._loop.time() < self._ends_at:
            self._timer = self._loop.call_at(self._ends_at, self._time_up)
        elif self._lingering is not None:
            self._fail(TimeoutError())
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(TimeoutError())

    def _wake(self) -> None:
        over = self._lingering
        if over is not None:
            self._drop()
            if self.complete or self.lost or self._failure is not None:
                self._lingering = None
                over(self)
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _drop(self) -> None:
        self._pieces.clear()
        self._ahead = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def _fail(self, error: Exception) -> None:
        if self._failure is None:
            self._failure = error
        self.abort()
        self._wake()

    # What the transport calls.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self._running:
            # Nobody asked.
            self.abort()
            return
        self._unread = False
        if self._awaiting_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            if not self.complete:
                self._fail(MalformedError())
            else:
                self.abort()
            return
        if self._awaiting_head and self._head_bytes > MAX_HEAD_BYTES:
            self._fail(MalformedError())
        elif self._ahead > _READ_AHEAD_BYTES and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._running and not self.complete:
            # RFC 9112, 6.3: an answer without a length ends with its connection, if in order.
            if exc is None and not self._awaiting_head and not self._sized:
                self.complete = True
            elif self._failure is None:
                self._failure = BrokenError(unread=self._unread)
        self._wake()

    # What the parser calls.

    def on_message_begin(self) -> None:
        """See httptools."""
        self._surplus = self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        if self._surplus:
            return
        name = name.lower()
        self.headers.append((name, value))
        if name in (b"content-length", b"transfer-encoding"):
            self._sized = True

    def on_headers_complete(self) -> None:
        """See httptools."""
        status = self._parser.get_status_code()
        if self._surplus:
            return
        if status in _INTERIM:
            # RFC 9110, 15.2: one may come before the answer, unasked.
            self.headers = []
            return
        self.status = status
        self._awaiting_head = False
        if status in _BODILESS:
            self._sized = True

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        if not self._surplus:
            self._pieces.append(body)
            self._ahead += len(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.status and not self._surplus:
            self.complete = True
            # Asked here: the parser forgets it with the message.
            self._keep_alive = bool(self._parser.should_keep_alive())
