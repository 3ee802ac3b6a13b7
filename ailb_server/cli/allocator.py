"""What the C library's allocator is told, where that is glibc."""

import ctypes
import sys

# mallopt(3). Blocks of this size and more get pages of their own, which go back with them.
_M_MMAP_THRESHOLD = -3
_LARGE_BYTES = 128 * 1024


def give_back_large_blocks() -> bool:
    """Keeps the threshold where it is at first; whether that was done.

    Left alone, glibc raises it to the largest block that was ever freed: after the first images of
    a megabyte all bodies come from the heap, whose holes are never given back.
    """
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return bool(mallopt and mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES))
