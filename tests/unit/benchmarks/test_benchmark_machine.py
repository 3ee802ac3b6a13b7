"""What the benchmarks read of processes."""

import os
import subprocess
import sys

import pytest

from benchmarks import machine

_STAT = (
    "4711 (a (nasty) name) S 42 4711 4711 0 -1 4194304 1 2 3 4 17 2 0 0 20 0 5 0 286125 148996096"
)
_STATUS = "Name:\tenvoy\nVmHWM:\t   90000 kB\nVmRSS:\t   68000 kB\nThreads:\t7\n"
_BUSY = "cpu  100 20 30 4000 500 6 7 8 0 0\ncpu0 50 10 15 2000 250 3 3 4 0 0\n"


def test_a_process_is_read_whatever_its_name() -> None:
    assert machine.parse_stat(_STAT) == machine.Process(4711, "a (nasty) name", "S", 42, 286125)


def test_resident_memory_is_in_bytes() -> None:
    assert machine.parse_resident(_STATUS) == 68000 * 1024
    assert machine.parse_resident("Name:\tkthreadd\n") == 0


def test_busy_time_leaves_idle_and_io_wait_out() -> None:
    ticks = os.sysconf("SC_CLK_TCK")
    assert machine.parse_busy(_BUSY) == pytest.approx((100 + 20 + 30 + 6 + 7 + 8) / ticks)


def test_the_cpu_clock_of_a_process_counts_its_own_work() -> None:
    before = machine.cpu_seconds(os.getpid())
    sum(range(200_000))
    assert machine.cpu_seconds(os.getpid()) > before


def test_the_yardstick_takes_cpu_time() -> None:
    assert machine.yardstick_ms() > 0


def test_a_child_is_found_and_known_to_be_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found = [p for p in machine.descendants(os.getpid()) if p.pid == child.pid]
        assert len(found) == 1
        assert machine.lives(found[0])
        assert machine.resident_bytes(child.pid) > 0
    assert not machine.lives(found[0])
    with pytest.raises(ProcessLookupError):
        machine.cpu_seconds(child.pid)
