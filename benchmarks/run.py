"""One run: starts everything, measures every cell, ends everything."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from benchmarks.load import Order, Outcome, without_identity
from benchmarks.machine import busy_seconds, cpu_seconds, yardstick_ms
from benchmarks.plan import GATEWAYS, MAX_REQUESTS, WARM_UP_S, Cell, Plan, Target
from benchmarks.programs import RunError, post
from benchmarks.rig import Memory, Rig, Served, Starter
from benchmarks.starts import Starts, starts
from benchmarks.workloads import Workload

_IDLE_S = 1.0
_WARM_UP_CONCURRENCY = 16
# What is in flight when the window ends may be late, and is no error for that.
_TAIL_ANSWERS = 2
_TAIL_S = 5.0
_HALF = 0.5

# Told of every cell before it is measured: its number from 1, and how many there are.
Progress: TypeAlias = Callable[[int, int, Cell], None]
# Answers' bodies that are right; None where any complete one is.
Expected: TypeAlias = Mapping[tuple[str, Target], str | None]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was measured beside the cells.

    `up_s`: from `ailb up` in an empty data directory to the first chat answered. `cpus`: those
    of the gateways and of the rig, or None if nothing was pinned. `idle_cpu`: AILB's share of a CPU
    without requests, server and Envoy together. Memory is of each target, before all load (a chat
    and an import apart) and after it.
    """

    up_s: float
    starts: Starts | None
    cpus: tuple[int, int] | None
    idle_cpu: float
    memory_idle: dict[Target, Memory]
    memory_end: dict[Target, Memory]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of a cell.

    `foreign_cpu`: CPUs that processes of others kept busy. `yardstick_ms`: CPU time of a fixed
    piece of work on the gateway's CPU just before.
    """

    cell: Cell
    outcome: Outcome
    foreign_cpu: float
    yardstick_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """A run. `complete` is False if the time was over before every repetition."""

    surroundings: Surroundings
    samples: list[Sample]
    complete: bool


class Rates:
    """What open loops are sent: half of what the same target answered at most until then."""

    def __init__(self) -> None:
        self._highest: dict[tuple[str, Target], float] = {}

    def saw(self, cell: Cell, outcome: Outcome) -> None:
        """Of a closed loop."""
        if not cell.open_loop:
            name = (cell.workload.name, cell.target)
            rate = outcome.done / outcome.window_s
            self._highest[name] = max(rate, self._highest.get(name, 0.0))

    def of(self, cell: Cell) -> float:
        """In requests a second; 0 for a closed loop."""
        if not cell.open_loop:
            return 0.0
        return max(1.0, _HALF * self._highest.get((cell.workload.name, cell.target), 0.0))


def run(plan: Plan, progress: Progress, litellm: str | None = None) -> Result:
    """Raises RunError. Whatever was started has ended when this returns or raises.

    `litellm`: a Python that can import LiteLLM, if that is a target.
    """
    deadline = time.monotonic() + plan.budget_s
    # A file that cannot be removed must not cost the figures.
    scratch = tempfile.TemporaryDirectory(prefix="ailb-benchmark-", ignore_cleanup_errors=True)
    with scratch as name, ExitStack() as stack:
        directory = Path(name)
        directory.chmod(0o711)
        starter = Starter(stack, directory, litellm)
        bare = starter.bare()
        found = starts(starter.upstream_port, directory / "serve") if plan.starts else None
        collection = any(workload.name == "rag" for workload in plan.workloads)
        asked = tuple(dict.fromkeys(cell.target for cell in plan.cells()))
        rig = starter.rig(bare, asked, collection=collection)
        idle, memory = _idle_cpu(rig), _memory(rig)
        expected = _expected(rig, plan)
        _warm_up(rig, plan, expected)
        samples = list(_samples(rig, plan, expected, progress, deadline))
        complete = len(samples) == plan.repetitions * len(plan.cells())
        surroundings = Surroundings(rig.up_s, found, rig.cpus, idle, memory, _memory(rig))
        return Result(surroundings, samples, complete)


def _expected(rig: Rig, plan: Plan) -> Expected:
    found: dict[tuple[str, Target], str | None] = {}
    for workload, target in {(cell.workload, cell.target): None for cell in plan.cells()}:
        # What is put into a request changes its answer, and a peer writes it anew.
        whole = workload.context or target == "LiteLLM"
        found[workload.name, target] = None if whole else _right(rig, workload, target)
    return found


def _right(rig: Rig, workload: Workload, target: Target) -> str:
    """The echo's answer is its own; everybody else's is the upstream's."""
    served = rig.served["echo" if target == "echo" else "upstream"]
    body = post(served.port, workload.body)
    if body is None:
        raise RunError(f"the workload {workload.name} is not answered")
    return without_identity(body).decode()


def _warm_up(rig: Rig, plan: Plan, expected: Expected) -> None:
    """Once for each kind of request to each target: first ones import and connect."""
    for workload, target in {(cell.workload, cell.target): None for cell in plan.cells()}:
        if workload.pace_ms or target == "upstream":
            continue
        cell = Cell(workload, _WARM_UP_CONCURRENCY, target)
        _measure(rig, _order(rig, cell, (0.0, WARM_UP_S), expected, 0.0))


def _samples(
    rig: Rig, plan: Plan, expected: Expected, progress: Progress, deadline: float
) -> Iterator[Sample]:
    cells, rates = plan.cells() * plan.repetitions, Rates()
    for number, cell in enumerate(cells, 1):
        if time.monotonic() > deadline:
            return
        progress(number, len(cells), cell)
        sample = _sample(rig, cell, _order(rig, cell, plan.times(cell), expected, rates.of(cell)))
        rates.saw(cell, sample.outcome)
        yield sample


def _sample(rig: Rig, cell: Cell, order: Order) -> Sample:
    yardstick = yardstick_ms()
    started, own, busy = time.perf_counter(), rig.own_cpu_s(), busy_seconds()
    outcome = _measure(rig, order)
    foreign = (busy_seconds() - busy) - (rig.own_cpu_s() - own)
    return Sample(cell, outcome, max(0.0, foreign) / (time.perf_counter() - started), yardstick)


def _measure(rig: Rig, order: Order) -> Outcome:
    try:
        return rig.generator.measure(order)
    finally:
        # If one has ended, that is the news, whatever else went wrong after it.
        rig.check()


def _order(
    rig: Rig, cell: Cell, times: tuple[float, float], expected: Expected, rate: float
) -> Order:
    served, workload = rig.served[cell.target], cell.workload
    rest = {"upstream": rig.upstream.pid, "generator": rig.generator.pid}
    return Order(
        port=served.port,
        key=served.key,
        body=workload.body,
        bodies=list(workload.bodies),
        expected=expected[workload.name, cell.target],
        stream=workload.stream,
        paced=workload.pace_ms > 0,
        concurrency=cell.concurrency,
        rate=rate,
        warm_s=times[0],
        window_s=times[1],
        tail_s=_TAIL_ANSWERS * workload.lasts_s + _TAIL_S,
        max_requests=MAX_REQUESTS,
        pids={**served.pids, **rest},
    )


def _idle_cpu(rig: Rig) -> float:
    gateway = rig.served.get(GATEWAYS[0])
    if gateway is None:
        return 0.0
    before, started = _cpu_s(gateway), time.perf_counter()
    time.sleep(_IDLE_S)
    return (_cpu_s(gateway) - before) / (time.perf_counter() - started)


def _cpu_s(served: Served) -> float:
    return sum(cpu_seconds(pid) for pid in served.pids.values())


def _memory(rig: Rig) -> dict[Target, Memory]:
    """Of each target with processes of its own: `AILB keyed` is AILB."""
    return {
        target: served.memory()
        for target, served in rig.served.items()
        if served.pids and target != GATEWAYS[1]
    }
