"""The extraction process: reads files that are not to be trusted, within bounds of its own.

Started as `python -m`, with the bytes of memory it may use and the seconds for one file.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ailb_server.knowledge.extraction.cutting import cut_up
from ailb_server.knowledge.extraction.extracted import UnreadableError
from ailb_server.knowledge.extraction.frames import REQUEST, document_frames, frame, parse_request

# Chats go first.
_NICENESS = 5


def main(memory_bytes: int, seconds: int) -> None:
    """Answers requests from standard input until that ends."""
    answers = _take_standard_output()
    _limit(memory_bytes)
    _send(answers, [frame({"ready": True})])
    requests = sys.stdin.buffer
    while head := requests.read(REQUEST.size):
        sizes = REQUEST.unpack(head)
        asked, content = (requests.read(size) for size in sizes)
        # Ends this process, also when the one that watches the time is gone.
        signal.alarm(seconds)
        _send(answers, _answer(asked, content))
        signal.alarm(0)


def _answer(asked: bytes, content: bytes) -> Iterator[bytes]:
    try:
        document = cut_up(content, *parse_request(asked))
    except UnreadableError as error:
        yield frame({"error": str(error)})
    except MemoryError:
        yield frame({"error": "takes too much memory to read"})
    except RecursionError:
        yield frame({"error": "is nested too deeply"})
    else:
        yield from document_frames(document)


def _send(answers: BinaryIO, frames: Iterator[bytes] | list[bytes]) -> None:
    for data in frames:
        answers.write(data)
    answers.flush()


def _take_standard_output() -> BinaryIO:
    """What a library prints must not get between the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit(memory_bytes: int) -> None:
    os.nice(_NICENESS)
    # If the machine runs out of memory, this process is the one to go, not the gateway.
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    try:
        import resource  # noqa: PLC0415 - not on Windows
    except ImportError:
        return
    for kind, limit in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
    ):
        # macOS has no bound for memory.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (limit, limit))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
