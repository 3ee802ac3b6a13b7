"""A script carried out on the socket of one request."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import Final

from aiohttp import web

from ailb_server.demo.faults import Ending, Script

# A stalled request ends when its client leaves; this only bounds a client that never does.
STALL_S: Final = 600.0
_BURST: Final = 64


async def deliver(request: web.Request, script: Script) -> web.StreamResponse:
    """Write the script's blocks, then end as it says.

    Raises ConnectionError, or is cancelled, if the client leaves first.
    """
    if script.head:
        response = await _write(request, script)
    else:
        response = web.Response()
    if script.ending is Ending.STALL:
        await asyncio.sleep(STALL_S)
    if script.ending is not Ending.FINISH:
        _hang_up(request, reset=script.ending is Ending.RESET)
    return response


async def _write(request: web.Request, script: Script) -> web.StreamResponse:
    if script.length is not None and script.ending is Ending.FINISH:
        whole = web.Response(
            status=script.status, headers=script.headers, body=b"".join(script.blocks)
        )
        await whole.prepare(request)
        await whole.write_eof()
        return whole
    response = web.StreamResponse(status=script.status, headers=script.headers)
    response.content_length = script.length
    await response.prepare(request)
    await _write_blocks(response, script)
    if script.ending is Ending.FINISH:
        await response.write_eof()
    return response


async def _write_blocks(response: web.StreamResponse, script: Script) -> None:
    for number, block in enumerate(script.blocks):
        if number and script.pause_s:
            await asyncio.sleep(script.pause_s)
        elif number % _BURST == _BURST - 1:
            # Writes do not wait while the socket takes them: let a disconnect be noticed.
            await asyncio.sleep(0)
        if block:
            await response.write(block)


def _hang_up(request: web.Request, *, reset: bool) -> None:
    """Close the connection without ending the response: with FIN, or with RST."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # Lingering for 0 s makes the kernel send RST instead of FIN (socket(7), SO_LINGER).
    linger = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()
