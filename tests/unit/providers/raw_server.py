"""A server on loopback that answers with given bytes, whatever they are."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

from yarl import URL


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
        listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = URL(f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1/chat?a=b")
        yield self
        listening.close()


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name == b"content-length":
            return int(value)
    return 0
