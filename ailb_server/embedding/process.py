"""One life of the embedding worker's process, as its parent sees it."""

import asyncio
import logging
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from ailb_server.embedding.loading import ModelSpec

_END_S = 2.0
_LINE_CHARACTERS = 500

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A process that runs, the socket to it, and its end: asked for, or waited for."""

    pid: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    kill: Callable[[], None]
    wait: Callable[[], Awaitable[int]]


def command(spec: ModelSpec, descriptor: int) -> Sequence[str]:
    """-P: the working directory must not shadow a package."""
    named = ["--socket", str(descriptor), "--model", spec.model, "--runtime", spec.runtime]
    revision = ["--revision", spec.revision] if spec.revision else []
    return [sys.executable, "-P", "-m", "ailb_server.embedding.worker", *named, *revision]


@asynccontextmanager
async def running(spec: ModelSpec) -> AsyncIterator[WorkerProcess]:
    """The worker; it has ended when the context is left. Raises OSError if it cannot be started."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await _spawned(spec, ours, theirs)
    logged = asyncio.create_task(_log_lines(process))
    try:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        try:
            yield WorkerProcess(process.pid, reader, writer, process.kill, process.wait)
        finally:
            writer.close()
    finally:
        await _ended(process, logged)


async def _spawned(
    spec: ModelSpec, ours: socket.socket, theirs: socket.socket
) -> asyncio.subprocess.Process:
    try:
        # A session of its own: the terminal's Ctrl-C is for us, and calls that drain still embed.
        return await asyncio.create_subprocess_exec(
            *command(spec, theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(theirs.fileno(),),
            start_new_session=True,
        )
    except BaseException:
        ours.close()
        raise


async def _ended(process: asyncio.subprocess.Process, logged: asyncio.Task[None]) -> None:
    """Its socket is closed, which ends it; a worker that does not see that is killed."""
    try:
        await asyncio.wait_for(process.wait(), _END_S)
    except TimeoutError:
        _log.warning("the embedding worker did not end and is killed")
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        logged.cancel()
        await asyncio.wait([logged])


async def _log_lines(process: asyncio.subprocess.Process) -> None:
    """What it prints: the words of packages about themselves; the worker prints no text."""
    if process.stdout is None:
        return
    while True:
        try:
            line = await process.stdout.readline()
        except ValueError:
            # Longer than the reader's limit, which has thrown it away.
            continue
        if not line:
            return
        if said := line.decode(errors="replace").strip():
            _log.info("the embedding worker says: %s", said[:_LINE_CHARACTERS])
