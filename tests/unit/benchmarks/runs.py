"""Results of runs that were never made."""

from benchmarks.figures import latency
from benchmarks.load import Outcome
from benchmarks.plan import Cell, Target
from benchmarks.rig import Memory
from benchmarks.run import Result, Sample, Surroundings
from benchmarks.starts import Starts
from benchmarks.workloads import Workload, workloads

MB = 1024 * 1024
SMALL = workloads()["small"]
STREAM = workloads()["stream"]


def outcome(
    cpu_ms: float, slow_ms: float = 2.0, errors: dict[str, int] | None = None, *, chunks: int = 0
) -> Outcome:
    """Two answers in a second: server CPU ms of each, the slower one's ms."""
    times = latency([1_000_000, round(slow_ms * 1_000_000)])
    return Outcome(
        done=2,
        window_s=1.0,
        errors=errors or {},
        latency=times,
        first_byte=times if chunks else None,
        cpu_s={"server": cpu_ms * 2 / 1000, "envoy": 0.0004},
        chunks=chunks,
    )


def sample(workload: Workload, target: Target, found: Outcome, concurrency: int = 1) -> Sample:
    """On a quiet machine."""
    cell = Cell(workload, concurrency, target)
    return Sample(cell, found, foreign_cpu=0.0, yardstick_ms=6.0)


def result(*samples: Sample) -> Result:
    """All of them, in a run that measured everything."""
    memory: dict[Target, Memory] = {"AILB": Memory(100 * MB, 70 * MB)}
    surroundings = Surroundings(2.5, Starts(1.4, 1.0, 90 * MB), (0, 1), 0.004, memory, memory)
    return Result(surroundings, list(samples), complete=True)
