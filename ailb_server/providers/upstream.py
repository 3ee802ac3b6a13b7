"""The one HTTP seam to a provider: pooled, timed, its failures already AILB's errors."""

import asyncio
import errno
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from http import HTTPStatus
from weakref import WeakSet

import aiohttp
from aiohttp.client import ClientRequest
from aiohttp.connector import Connection
from aiohttp.tracing import Trace
from multidict import CIMultiDict
from typing_extensions import override
from yarl import URL

from ailb_server.domain.errors import UpstreamTimeoutError, UpstreamUnavailableError
from ailb_server.providers.credentials import confided, without

MAX_BODY_BYTES = 48 * 1024 * 1024
_DRAIN_S = 0.5
_KEEPALIVE_S = 30.0
_READ_BUFFER_BYTES = 256 * 1024
_RESET = frozenset({errno.ECONNRESET, errno.EPIPE})
# Of the task's last request, as aiohttp connects in the task that sends.
_reused: ContextVar[bool] = ContextVar("reused", default=False)


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
        self,
        response: aiohttp.ClientResponse,
        provider: str,
        timeouts: Timeouts,
        started: float,
        sent: Mapping[str, str],
    ) -> None:
        self._response = response
        self._sent = sent
        self.provider = provider
        self._timeouts = timeouts
        self._ends = started + timeouts.total_s
        self._limit = min(started + timeouts.first_token_s, self._ends)
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers

    async def read(self) -> bytes:
        """The next network read; empty at the end. Raises UpstreamError."""
        with failures(self.provider):
            async with asyncio.timeout_at(self._limit):
                data = await self._response.content.readany()
        return data

    def token_seen(self) -> None:
        """Moves the limit from the first token to the pause between tokens."""
        now = asyncio.get_running_loop().time()
        self._limit = min(now + self._timeouts.between_tokens_s, self._ends)

    async def read_all(self) -> bytes:
        """The whole body, bounded by MAX_BODY_BYTES; an error's is `quotable`."""
        pieces: list[bytes] = []
        size = 0
        # Not until an empty read: that would be one more timed read for each answer.
        while not self._response.content.at_eof():
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
        return without(told, confided(self._response.url, self._sent))

    async def drain(self) -> None:
        """Reads to the end if that is near, so that the connection can serve again."""
        try:
            async with asyncio.timeout(_DRAIN_S):
                while await self._response.content.readany():
                    pass
        except (TimeoutError, aiohttp.ClientError):
            self._response.close()


class Upstream:
    """One provider's connections: one session for as long as the server runs."""

    def __init__(self, provider: str, *, timeouts: Timeouts, pool_size: int) -> None:
        self.provider = provider
        self._timeouts = timeouts
        self._pool_size = pool_size
        self._running = 0
        self._session: aiohttp.ClientSession | None = None

    def post(
        self, url: URL, headers: CIMultiDict[str], body: bytes
    ) -> AbstractAsyncContextManager[Reply]:
        """Posts a body. Leaving before the answer's end closes the connection: it stops there."""
        return self._send("POST", url, headers, body)

    def get(self, url: URL, headers: CIMultiDict[str]) -> AbstractAsyncContextManager[Reply]:
        """Gets a resource; timed as `post` is."""
        return self._send("GET", url, headers, None)

    def has_room(self) -> bool:
        """See `PooledProvider.has_room`."""
        return self._running < self._pool_size

    @asynccontextmanager
    async def _send(
        self, method: str, url: URL, headers: CIMultiDict[str], body: bytes | None
    ) -> AsyncIterator[Reply]:
        started = asyncio.get_running_loop().time()
        limit = started + min(self._timeouts.first_token_s, self._timeouts.total_s)
        _reused.set(False)
        response: aiohttp.ClientResponse | None = None
        self._running += 1
        try:
            with failures(self.provider, sending=True):
                async with asyncio.timeout_at(limit):
                    response = await self._connected().request(
                        method,
                        url,
                        data=body,
                        headers=headers,
                        allow_redirects=False,
                    )
            yield Reply(response, self.provider, self._timeouts, started, headers)
        finally:
            self._running -= 1
            if response is not None:
                _leave(response)

    async def close(self) -> None:
        """Closes every connection."""
        if self._session is not None:
            await self._session.close()

    def _connected(self) -> aiohttp.ClientSession:
        # Made on first use, because a session belongs to the running loop.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=_Connector(limit=self._pool_size),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._timeouts.connect_s),
                auto_decompress=False,
                skip_auto_headers=("Accept-Encoding", "User-Agent"),
                read_bufsize=_READ_BUFFER_BYTES,
            )
        return self._session


def _leave(response: aiohttp.ClientResponse) -> None:
    if response.content.at_eof():
        response.release()
    else:
        response.close()


class _Connector(aiohttp.TCPConnector):
    """Tells whether a request went out on a connection kept from before.

    aiohttp's own tracing tells it too, at eight times the cost of this.
    """

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit, keepalive_timeout=_KEEPALIVE_S, ttl_dns_cache=30)
        self._used: WeakSet[object] = WeakSet()

    @override
    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: aiohttp.ClientTimeout
    ) -> Connection:
        connection = await super().connect(req, traces, timeout)
        _reused.set(connection.protocol in self._used)
        self._used.add(connection.protocol)
        return connection


def _is_stale(error: Exception) -> bool:
    """A kept connection was closed before any byte of the answer.

    aiohttp's ServerDisconnectedError holds what was read of an answer; a reset that comes before
    the head is complete is the same event, seen from another side.
    """
    if not _reused.get():
        return False
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return isinstance(error.message, str)
    # aiohttp's own "cannot write to closing transport" is a reset without a number.
    reset = isinstance(error, ConnectionResetError | BrokenPipeError)
    return reset or (isinstance(error, OSError) and error.errno in _RESET)


@contextmanager
def failures(provider: str, *, sending: bool = False) -> Iterator[None]:
    """Tells by type and phase, never by text, what an I/O error means.

    While `sending`, no byte of the answer has been read yet.
    """
    try:
        yield
    except aiohttp.ConnectionTimeoutError as error:
        raise UpstreamUnavailableError(
            "The provider did not accept the connection in time.", provider=provider
        ) from error
    except TimeoutError as error:
        raise UpstreamTimeoutError(
            "The provider did not answer in time.", provider=provider
        ) from error
    except aiohttp.ClientConnectorError as error:
        raise UpstreamUnavailableError(
            "The provider could not be reached.", provider=provider
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        broken = UpstreamUnavailableError(
            "The provider broke off the connection.", provider=provider
        )
        broken.resendable = sending and _is_stale(error)
        raise broken from error
