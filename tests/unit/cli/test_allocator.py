"""Memory that large bodies took goes back to the system."""

import platform
import subprocess
import sys

import pytest

# Bodies of a megabyte, small blocks that outlive them in between; what is left of them, in MB.
_PROGRAM = """
import sys
from ailb_server.cli.allocator import give_back_large_blocks

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

if sys.argv[1] == "kept":
    assert give_back_large_blocks()
for _ in range(3):
    b"z" * (4 << 20)
before = resident_mb()
bodies, kept = [], []
for _ in range(50):
    bodies.append(b"x" * (1 << 20))
    kept.append(b"y" * 60_000)
bodies.clear()
print(resident_mb() - before)
"""


def _left_mb(how: str) -> float:
    program = [sys.executable, "-c", _PROGRAM, how]
    return float(subprocess.run(program, check=True, capture_output=True, text=True).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's own habit")
def test_large_bodies_leave_nothing_behind() -> None:
    assert _left_mb("kept") < 5
    assert _left_mb("left alone") > 25
