"""What passes between a client and a server of HTTP/2, by the types of its frames."""

import asyncio
import contextlib
from collections import Counter
from typing import Self

PING = 6
GOAWAY = 7
ACK = 1
_PREFACE = len(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
_HEAD = 9


class Relay:
    """Listens on `address` and passes all on to `server`. `asked` and `answered` count frames by
    type and whether they acknowledge; `connections` counts those."""

    def __init__(self, server: str) -> None:
        host, _, port = server.rpartition(":")
        self._to = (host, int(port))
        self.asked: Counter[tuple[int, bool]] = Counter()
        self.answered: Counter[tuple[int, bool]] = Counter()
        self.connections = 0
        self.address = ""
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        upper_reader, upper_writer = await asyncio.open_connection(*self._to)
        ways = (
            _pass(reader, upper_writer, self.asked, _PREFACE),
            _pass(upper_reader, writer, self.answered, 0),
        )
        for way in ways:
            self._tasks.add(asyncio.create_task(way))


async def _pass(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    seen: Counter[tuple[int, bool]],
    skip: int,
) -> None:
    try:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            writer.write(await reader.readexactly(skip))
            while True:
                head = await reader.readexactly(_HEAD)
                seen[head[3], bool(head[4] & ACK)] += 1
                writer.write(head + await reader.readexactly(int.from_bytes(head[:3], "big")))
                await writer.drain()
    finally:
        writer.close()
