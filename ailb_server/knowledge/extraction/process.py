"""Extraction in a process of its own: the event loop goes on, and a hostile file ends only that."""

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ailb_server.knowledge.extraction import worker
from ailb_server.knowledge.extraction.chunking import Piece
from ailb_server.knowledge.extraction.content_types import ContentType
from ailb_server.knowledge.extraction.cutting import CutDocument, CutRules
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.extraction.frames import (
    LENGTH,
    MAX_FRAME_BYTES,
    REQUEST,
    parse_pieces,
    request_head,
)


class ExtractionUnavailableError(Exception):
    """The extraction process does not start: a fault of this machine, not of a document."""


@dataclass(frozen=True, slots=True)
class ExtractionRules:
    """Bounds of one file, and of the process's start."""

    memory_bytes: int = 1024 * 1024 * 1024
    timeout_s: float = 60.0
    start_timeout_s: float = 30.0


class ExtractionProcess:
    """Reads one file at a time; starts with the first one, and anew after a crash."""

    def __init__(self, rules: ExtractionRules | None = None) -> None:
        self._rules = rules or ExtractionRules()
        self._process: Process | None = None
        self._turn = asyncio.Lock()

    async def cut_up(self, content: bytes, kind: ContentType, rules: CutRules) -> CutDocument:
        """Raises UnreadableError, also if the file crashes the process or takes it too long, and
        ExtractionUnavailableError."""
        async with self._turn:
            process = self._process or await self._start()
            try:
                async with asyncio.timeout(self._rules.timeout_s):
                    return await _exchange(process, content, kind, rules)
            except UnreadableError:
                raise
            except TimeoutError:
                await self._end()
                raise UnreadableError(
                    f"takes longer than {self._rules.timeout_s:g} s to read"
                ) from None
            except (OSError, EOFError, ValueError, LookupError, TypeError):
                await self._end()
                raise UnreadableError("crashed the process that reads documents") from None
            except BaseException:
                # Given up in the middle of an answer, whose rest would be taken for the next one.
                await self._end()
                raise

    async def close(self) -> None:
        """Ends the process, if there is one; the next file starts another."""
        async with self._turn:
            await self._end()

    async def _start(self) -> Process:
        process = self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            worker.__name__,
            str(self._rules.memory_bytes),
            str(int(self._rules.timeout_s) + 5),
            stdin=PIPE,
            stdout=PIPE,
            # The terminal's Ctrl-C is for the gateway: work that ends orderly is not failed.
            start_new_session=True,
            # Libraries' warnings may quote the document.
            stderr=DEVNULL,
            # Not ours: it holds credentials, and the process reads what strangers wrote.
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        try:
            async with asyncio.timeout(self._rules.start_timeout_s):
                await _frame(process)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            await self._end()
            raise ExtractionUnavailableError("the extraction process does not start") from error
        except BaseException:
            await self._end()
            raise
        return process

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        if process.stdin is not None:
            process.stdin.close()
        await process.wait()


async def _exchange(
    process: Process, content: bytes, kind: ContentType, rules: CutRules
) -> CutDocument:
    head = request_head(kind, rules)
    if process.stdin is None:
        raise EOFError
    # Together: a small file wakes the process once.
    process.stdin.writelines((REQUEST.pack(len(head), len(content)), head, content))
    await process.stdin.drain()
    first: Any = json.loads(await _frame(process))
    if "error" in first:
        raise UnreadableError(str(first["error"]))
    found: list[Piece] = []
    while len(found) < int(first["pieces"]):
        pieces = await _pieces(process)
        found.extend(pieces)
    return CutDocument(str(first["title"]), int(first["characters"]), found)


async def _pieces(process: Process) -> Sequence[Piece]:
    pieces = parse_pieces(await _frame(process))
    if not pieces:
        raise ValueError("a frame without pieces")
    return pieces


async def _frame(process: Process) -> bytes:
    if process.stdout is None:
        raise EOFError
    (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
    if length > MAX_FRAME_BYTES:
        raise ValueError("a frame too large")
    return await process.stdout.readexactly(length)
