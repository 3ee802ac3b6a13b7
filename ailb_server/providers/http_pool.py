"""Kept connections to one provider: bounded, and taken by the newest first."""

import asyncio
import ssl
from collections import deque

from yarl import URL

from ailb_server.providers.http_connection import Connection

_IDLE_S = 30.0
# How long the end of a body may come after the end of what it says.
_LINGER_S = 0.5


class ConnectTimeoutError(Exception):
    """The provider did not accept the connection in time."""


class ConnectError(Exception):
    """There is no connection to be had."""


class ConnectionPool:
    """At most `limit` connections, made within `connect_s` seconds each, to the host of a URL."""

    def __init__(self, url: URL, *, limit: int, connect_s: float) -> None:
        self._host = url.host or ""
        self._port = url.port or 0
        self._secure = url.scheme == "https"
        self._limit = limit
        self._connect_s = connect_s
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._connecting = 0
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._tls: ssl.SSLContext | None = None
        self._sweep: asyncio.TimerHandle | None = None
        self._closed = False

    def kept(self) -> Connection | None:
        """A connection that serves at once, if one is kept."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if connection.reusable:
                return connection
            self._end(connection)
        return None

    async def take(self) -> Connection:
        """A kept connection, or a new one, once there may be one more.

        Raises ConnectError, ConnectTimeoutError.
        """
        while (connection := self.kept()) is None:
            if self._closed:
                raise ConnectError
            if len(self._open) + self._connecting < self._limit:
                return await self._connect()
            await self._freed()
        return connection

    def give_back(self, connection: Connection) -> None:
        """Its exchange is over: it is kept if it can serve again, else ended."""
        connection.rest()
        if connection.reusable and not self._closed:
            self._idle.append(connection)
            if self._sweep is None:
                self._sweep = asyncio.get_running_loop().call_later(_IDLE_S, self._swept)
        else:
            self._end(connection)
        self._wake_one()

    def give_back_later(self, connection: Connection) -> None:
        """The answer is told, but for the end of its body, which is near: it is kept if that comes,
        and nobody waits for it."""
        loop = asyncio.get_running_loop()
        connection.linger(loop.time() + _LINGER_S, self.give_back)

    async def close(self) -> None:
        """Ends every connection."""
        self._closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in tuple(self._open):
            self._end(connection)
        while self._waiters:
            self._wake_one()

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        self._connecting += 1
        try:
            async with asyncio.timeout(self._connect_s) as limit:
                _, connection = await loop.create_connection(
                    lambda: Connection(loop), self._host, self._port, ssl=self._context()
                )
        except TimeoutError:
            self._wake_one()
            raise (ConnectTimeoutError if limit.expired() else ConnectError) from None
        except OSError as error:
            self._wake_one()
            raise ConnectError from error
        except BaseException:
            self._wake_one()
            raise
        finally:
            self._connecting -= 1
        self._open.add(connection)
        return connection

    def _context(self) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    async def _freed(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            # Its turn, if it had come, is the next one's.
            if waiter.done() and not waiter.cancelled():
                self._wake_one()
            raise

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                break

    def _end(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.abort()

    def _swept(self) -> None:
        """Ends what was not used for a while, so that it is not held for ever."""
        self._sweep = None
        loop = asyncio.get_running_loop()
        before = loop.time() - _IDLE_S
        for connection in [one for one in self._idle if one.idle_since <= before or one.lost]:
            self._idle.remove(connection)
            self._end(connection)
        if self._idle:
            self._sweep = loop.call_later(_IDLE_S, self._swept)
        self._wake_one()
