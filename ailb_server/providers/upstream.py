"""The one HTTP seam to a provider: pooled, timed, its failures already AILB's errors."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType

from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.errors import (
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.providers.credentials import confided, without
from ailb_server.providers.http_connection import BrokenError, Connection, MalformedError
from ailb_server.providers.http_head import UnfitHeaderError, request_head
from ailb_server.providers.http_pool import ConnectError, ConnectionPool, ConnectTimeoutError
from ailb_server.telemetry import tracing

MAX_BODY_BYTES = 48 * 1024 * 1024
_FAILURES = (
    TimeoutError,
    BrokenError,
    MalformedError,
    ConnectError,
    ConnectTimeoutError,
    UnfitHeaderError,
)


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds, from the request's start or from the last read."""

    connect_s: float
    first_token_s: float
    between_tokens_s: float
    total_s: float


class Reply:
    """An upstream's answer whose body is still to be read; every read is timed."""

    def __init__(
        self, connection: Connection, upstream: "Upstream", sent: "_Sent", started: float
    ) -> None:
        self._connection = connection
        self._sent = sent
        self.provider = upstream.provider
        self._timeouts = upstream.timeouts
        self._ends = started + upstream.timeouts.total_s
        self.status = connection.status

    @property
    def headers(self) -> Mapping[str, str]:
        """The answer's headers, whose names are in any case."""
        pairs = self._connection.headers
        return CIMultiDict((n.decode("latin-1"), v.decode("latin-1")) for n, v in pairs)

    async def read(self) -> bytes:
        """The next network read; empty at the end. Raises UpstreamError."""
        try:
            return await self._connection.read()
        except _FAILURES as error:
            raise failure(self.provider, error) from error

    def token_seen(self) -> None:
        """Moves the limit from the first token to the pause between tokens."""
        now = asyncio.get_running_loop().time()
        self._connection.wait_until(min(now + self._timeouts.between_tokens_s, self._ends))

    async def read_all(self) -> bytes:
        """The whole body, bounded by MAX_BODY_BYTES; an error's is `quotable`."""
        pieces: list[bytes] = []
        size = 0
        # Not until an empty read: that would be one more wait for each answer.
        while not self._connection.at_end:
            piece = await self.read()
            size += len(piece)
            if size > MAX_BODY_BYTES:
                raise UpstreamUnavailableError(
                    "The provider's answer is too large.", provider=self.provider
                )
            pieces.append(piece)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return body if self.status == HTTPStatus.OK else self.quotable(body)

    def quotable(self, told: bytes) -> bytes:
        """The provider's words without the credentials that it was sent."""
        return without(told, confided(self._sent.url, self._sent.headers))

    def told(self) -> None:
        """Nothing more is read: what the answer says is told, whatever its body ends with."""
        self._sent.told = True


class Upstream:
    """One provider's connections: kept for as long as the server runs."""

    def __init__(self, provider: str, *, timeouts: Timeouts, pool_size: int) -> None:
        self.provider = provider
        self.timeouts = timeouts
        self._pool_size = pool_size
        self._pools: dict[URL, ConnectionPool] = {}
        self.running = 0

    def post(
        self, url: URL, headers: Mapping[str, str], body: bytes
    ) -> AbstractAsyncContextManager[Reply]:
        """Posts a body. Leaving before the answer's end closes the connection: it stops there."""
        return _Exchange(self, _Sent("POST", url, headers, body))

    def get(self, url: URL, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Reply]:
        """Gets a resource; timed as `post` is."""
        return _Exchange(self, _Sent("GET", url, headers, None))

    def has_room(self) -> bool:
        """See `PooledProvider.has_room`."""
        return self.running < self._pool_size

    def pool(self, url: URL) -> ConnectionPool:
        """The connections to the host of `url`."""
        origin = url.origin()
        pool = self._pools.get(origin)
        if pool is None:
            pool = self._pools[origin] = ConnectionPool(
                origin, limit=self._pool_size, connect_s=self.timeouts.connect_s
            )
        return pool

    async def close(self) -> None:
        """Closes every connection."""
        for pool in self._pools.values():
            await pool.close()


@dataclass(slots=True)
class _Sent:
    method: str
    url: URL
    headers: Mapping[str, str]
    body: bytes | None
    told: bool = False


class _Exchange:
    """A request from its sending until its answer is left; see `Upstream.post`."""

    __slots__ = ("_connection", "_pool", "_sent", "_upstream")

    def __init__(self, upstream: Upstream, sent: _Sent) -> None:
        self._upstream = upstream
        self._sent = sent
        self._pool: ConnectionPool | None = None
        self._connection: Connection | None = None

    async def __aenter__(self) -> Reply:
        """Raises UpstreamError."""
        upstream = self._upstream
        upstream.running += 1
        try:
            return await self._opened()
        except _FAILURES as error:
            self._leave()
            told = failure(upstream.provider, error)
            if isinstance(told, UpstreamUnavailableError):
                told.resendable = self._is_stale(error)
            raise told from error
        except BaseException:
            self._leave()
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._leave()

    async def _opened(self) -> Reply:
        upstream, sent, timeouts = self._upstream, self._sent, self._upstream.timeouts
        started = asyncio.get_running_loop().time()
        limit = started + min(timeouts.first_token_s, timeouts.total_s)
        body = sent.body
        length = None if body is None else len(body)
        head = request_head(sent.method, sent.url, _traced(sent.headers, sent.url), length)
        pool = self._pool = upstream.pool(sent.url)
        connection = pool.kept()
        if connection is None:
            async with asyncio.timeout_at(limit):
                connection = await pool.take()
        self._connection = connection
        connection.send(head, body, limit)
        await connection.head()
        return Reply(connection, upstream, sent, started)

    def _leave(self) -> None:
        self._upstream.running -= 1
        pool, connection = self._pool, self._connection
        if pool is not None and connection is not None:
            if self._sent.told and not connection.at_end:
                pool.give_back_later(connection)
            else:
                pool.give_back(connection)

    def _is_stale(self, error: Exception) -> bool:
        """A kept connection was closed before any byte of the answer."""
        kept = self._connection is not None and self._connection.answers > 1
        return kept and isinstance(error, BrokenError) and error.unread


def _traced(headers: Mapping[str, str], url: URL) -> Mapping[str, str]:
    """The headers and, within a trace, those that let the provider go on with it."""
    span = tracing.current.get()
    if span is None:
        return headers
    span.tell({"server.address": url.host or "", "server.port": url.port or 0})
    # The template is every request's.
    return {**headers, **span.headers()}


def failure(provider: str, error: Exception) -> UpstreamError:
    """Tells by type and phase, never by text, what an I/O error means."""
    match error:
        case TimeoutError():
            return UpstreamTimeoutError("The provider did not answer in time.", provider=provider)
        case UnfitHeaderError():
            return UpstreamMisconfiguredError(
                "A header for the provider has characters that HTTP does not allow.",
                provider=provider,
            )
        case ConnectTimeoutError():
            told = "The provider did not accept the connection in time."
        case ConnectError():
            told = "The provider could not be reached."
        case MalformedError():
            told = "The provider's answer is not HTTP."
        case _:
            told = "The provider broke off the connection."
    return UpstreamUnavailableError(told, provider=provider)
