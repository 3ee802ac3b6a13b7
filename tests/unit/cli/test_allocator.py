"""Memory that large bodies took goes back to the system."""

import platform
import subprocess
import sys

import pytest

# Bodies of a megabyte, small blocks that outlive them in between; prints what is left of them in
# MB, as soon as that is little, else after a minute.
_PROGRAM = """
import asyncio
from ailb_server.cli.allocator import tended_heap
from ailb_server.telemetry.process import resident_bytes

def resident_mb():
    return resident_bytes() / 2**20

async def main():
    async with tended_heap(every_s=0.01):
        before = resident_mb()
        bodies, kept = [], []
        for _ in range(50):
            bodies.append(b"x" * (1 << 20))
            kept.append(b"y" * 60_000)
        assert resident_mb() - before > 50, "else there is nothing to give back"
        bodies.clear()
        {then}
        print(resident_mb() - before)

asyncio.run(main())
"""
_WAITS = """
        for _ in range(6_000):
            if resident_mb() - before < 5:
                break
            await asyncio.sleep(0.01)
"""


def _left_mb(then: str) -> float:
    program = [sys.executable, "-c", _PROGRAM.format(then=then)]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own habit")
def test_large_bodies_leave_nothing_behind() -> None:
    assert _left_mb("pass") > 25, "what glibc does by itself"
    assert _left_mb(_WAITS) < 5
