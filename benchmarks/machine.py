"""What Linux tells of processes and CPUs: proc(5), and the CPU clocks of processes."""

import json
import os
import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_YARDSTICK_ITEMS = 10_000
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
# Columns of a `cpu` line of /proc/stat: user, nice, system, (idle, iowait), irq, softirq, steal.
_BUSY_COLUMNS = (1, 2, 3, 6, 7, 8)


@dataclass(frozen=True, slots=True)
class Process:
    """One process. `started` (clock ticks after boot) tells it from a later one with its number."""

    pid: int
    name: str
    state: str
    parent: int
    started: int


def cpu_seconds(pid: int) -> float:
    """User and system time of all the process's threads, ended ones too, in steps of 1 ns.

    The clock's number is MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h: what
    clock_getcpuclockid(3) returns. Raises ProcessLookupError if there is no such process.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError as error:
        raise ProcessLookupError(f"there is no process {pid} (any more)") from error


def parse_stat(text: str) -> Process:
    """A process from its /proc/PID/stat; the name may hold spaces and brackets."""
    pid, _, rest = text.partition(" (")
    name, _, numbers = rest.rpartition(") ")
    fields = numbers.split()
    return Process(int(pid), name, fields[0], int(fields[1]), int(fields[19]))


def processes() -> list[Process]:
    """Every process that can be seen now."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            # It may end while we look.
            with suppress(OSError):
                found.append(parse_stat((entry / "stat").read_text(errors="replace")))
    return found


def descendants(pid: int) -> list[Process]:
    """The children of a process, their children, and so on."""
    children: dict[int, list[Process]] = defaultdict(list)
    for process in processes():
        children[process.parent].append(process)
    found: list[Process] = []
    parents = [pid]
    while parents:
        next_ones = children.pop(parents.pop(), [])
        found += next_ones
        parents += [process.pid for process in next_ones]
    return found


def lives(process: Process) -> bool:
    """Whether it is still that process, and no zombie."""
    try:
        now = parse_stat((_PROC / str(process.pid) / "stat").read_text(errors="replace"))
    except OSError:
        return False
    return now.started == process.started and now.state != "Z"


def parse_resident(status: str) -> int:
    """Resident bytes from a /proc/PID/status; 0 for a process without memory."""
    for line in status.splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def resident_bytes(pid: int) -> int:
    """Resident memory, shared pages included. Raises OSError if there is no such process."""
    return parse_resident((_PROC / str(pid) / "status").read_text())


def parse_busy(stat: str) -> float:
    """Seconds that all CPUs together have been busy since boot, from /proc/stat."""
    fields = stat.splitlines()[0].split()
    return sum(int(fields[column]) for column in _BUSY_COLUMNS) / _TICKS_PER_S


def busy_seconds() -> float:
    """Seconds that all CPUs together have been busy since boot, stolen time included."""
    return parse_busy((_PROC / "stat").read_text())


def cpu_pair() -> tuple[int, int] | None:
    """Two CPUs that we may use, or None if there are not two."""
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else None


def pin(pid: int, cpu: int) -> None:
    """Binds every thread of a process to one CPU; threads that they start later inherit it."""
    for task in (_PROC / str(pid) / "task").iterdir():
        # It may end while we look.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(task.name), {cpu})


def yardstick_ms() -> float:
    """CPU milliseconds of one fixed piece of work, now: virtual CPUs change their speed."""
    started = time.process_time()
    json.loads(json.dumps({str(number): [number] for number in range(_YARDSTICK_ITEMS)}))
    return (time.process_time() - started) * 1000


def cpu_model() -> str:
    """The CPU's name, as far as Linux tells it."""
    for line in (_PROC / "cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown CPU"
