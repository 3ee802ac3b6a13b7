"""What the C library's allocator is told, where that is glibc."""

import asyncio
import ctypes
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol, cast

from ailb_server.telemetry.process import resident_bytes

# mallopt(3). Blocks of this size and more get pages of their own, which go back with them. Smaller
# ones, bodies of a megabyte among them, come from the heap: to map their pages anew each time costs
# more than all that is done to them. Left alone, glibc raises it as larger blocks are freed, up to
# 32 MiB: then the 12 MB that orjson takes for a body of one come from the heap too.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 4 << 20
# Above what was resident at first, and what a trim is worth.
_SLACK_BYTES = 8 << 20
_GAIN_BYTES = 1 << 20
_LONGEST_PAUSE_S = 30.0


class _Glibc(Protocol):
    def mallopt(self, parameter: int, value: int) -> int: ...

    def malloc_trim(self, pad: int) -> int: ...


@asynccontextmanager
async def tended_heap(every_s: float = 1.0) -> AsyncIterator[None]:
    """Within it, memory that large bodies took goes back to the system soon after they are gone.

    glibc keeps the holes that they leave in its heaps until malloc_trim(3) tells it otherwise: some
    milliseconds, in a thread. Where the C library is another one, nothing is done.
    """
    glibc = _glibc()
    if glibc is None:
        yield
        return
    glibc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
    most = resident_bytes() + _SLACK_BYTES
    tending = asyncio.create_task(_tend(lambda: glibc.malloc_trim(0), most, every_s))
    try:
        yield
    finally:
        tending.cancel()
        await asyncio.wait((tending,))


async def _tend(trim: Callable[[], object], most: int, every_s: float) -> None:
    """Trims while more than `most` bytes are resident; seldom, once that gains nothing."""
    pause_s = every_s
    while True:
        await asyncio.sleep(pause_s)
        found = resident_bytes()
        if found <= most:
            pause_s = every_s
            continue
        await asyncio.to_thread(trim)
        gained = found - resident_bytes() >= _GAIN_BYTES
        pause_s = every_s if gained else min(2 * pause_s, _LONGEST_PAUSE_S)


def _glibc() -> _Glibc | None:
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return cast(_Glibc, library) if hasattr(library, "malloc_trim") else None
