"""Reads REST replies, and sends what no HTTP client would."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

# What callers must never see.
PRIVATE = (
    "grpc-status",
    "grpc-message",
    "grpc-status-details-bin",
    "grpc-accept-encoding",
    "grpc-encoding",
    "x-http-status",
    "x-ailb-error",
    "server",
)


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole reply; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def error(self) -> dict[str, Any]:
        """The error, once all is checked that is true of every error."""
        assert self.headers["content-type"] == "application/json"
        document = self.json()
        assert set(document) == {"error"}
        error: dict[str, Any] = document["error"]
        assert set(error) == {"message", "type", "param", "code"}
        assert error["message"]
        self.require_clean()
        return error

    def require_clean(self) -> None:
        """Nothing private, and a request id."""
        assert self.headers["x-request-id"]
        for name in self.headers:
            assert name not in PRIVATE
            assert not name.startswith("x-envoy-")


async def reply_of(response: aiohttp.ClientResponse) -> Reply:
    """Reads the whole response."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(response.status, headers, await response.read())


async def exchange(port: int, request: bytes) -> Reply:
    """Sends bytes as they are and reads until the server ends the connection or the reply."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)).decode("latin-1")
        lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
        length = int(headers.get("content-length", 0))
        body = await asyncio.wait_for(reader.readexactly(length), 5)
        return Reply(int(lines[0].split(" ")[1]), headers, body)
    finally:
        writer.close()
