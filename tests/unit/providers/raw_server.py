"""A server on loopback that answers with given bytes, whatever they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from yarl import URL

Serve: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[URL]:
    """Serves each connection to a free port of loopback."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield URL(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    server.close()


@dataclass(slots=True)
class RawServer:
    """The n-th request of a connection is answered with `answers[n]`; after the last, the
    connection is closed, unless `stays`. They wait for `gate`. `heads` are the requests' heads,
    `connections` how many were made: `second` tells of the second, `left` that one has ended."""

    answers: Sequence[bytes]
    stays: bool = False
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0
    url: URL = field(default_factory=URL)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)
    second: asyncio.Event = field(default_factory=asyncio.Event)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.connections == 2:
            self.second.set()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            for answer in self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                await reader.readexactly(_length(head))
                await self.gate.wait()
                writer.write(answer)
                await writer.drain()
            if self.stays:
                await reader.read()
        self.left.set()
        writer.close()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["RawServer"]:
        """Listens on a free port."""
        self.gate.set()
        async with listening(self._serve) as url:
            self.url = url / "v1/chat" % {"a": "b"}
            yield self


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"content-length":
            return int(value)
    return 0
