"""One run: starts everything, measures every cell, ends everything."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, TypeVar

from benchmarks.load import Order, Outcome, without_identity
from benchmarks.machine import (
    busy_seconds,
    cpu_pair,
    cpu_seconds,
    pin,
    resident_bytes,
    yardstick_ms,
)
from benchmarks.plan import MAX_REQUESTS, Cell, Plan, Target, Workload
from benchmarks.programs import Generator, Program, RunError, ailb, free_ports, post, upstream
from benchmarks.stopping import undisturbed

_IDLE_S = 1.0
_WARM_UP_S = 0.5
_WARM_UP_CONCURRENCY = 16

_Started = TypeVar("_Started", bound=Program)
# Told of every cell before it is measured: its number from 1, and how many there are.
Progress: TypeAlias = Callable[[int, int, Cell], None]


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident bytes."""

    server: int
    envoy: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What was measured beside the cells.

    `start_s`: from `ailb up` in an empty data directory to the first chat answered. `cpus`: those
    of the gateway and of the rig, or None if nothing was pinned. `idle_cpu`: the server's and
    Envoy's share of a CPU without requests.
    """

    start_s: float
    cpus: tuple[int, int] | None
    idle_cpu: float
    memory_idle: Memory
    memory_end: Memory


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


@dataclass(frozen=True, slots=True)
class Rig:
    """Everything that runs. `ports` are those of POST /v1/chat/completions."""

    ports: dict[Target, int]
    gateway: Program
    envoy: int
    upstream: Program
    generator: Generator
    start_s: float
    cpus: tuple[int, int] | None

    def check(self) -> None:
        """Raises RunError if AILB or the upstream has ended."""
        self.upstream.check()
        self.gateway.check()

    def memory(self) -> Memory:
        """The gateway's now."""
        return Memory(resident_bytes(self.gateway.pid), resident_bytes(self.envoy))

    def gateway_cpu_s(self) -> float:
        """The gateway's CPU seconds so far."""
        return cpu_seconds(self.gateway.pid) + cpu_seconds(self.envoy)

    def own_cpu_s(self) -> float:
        """CPU seconds so far of all that belongs to the run."""
        rig = cpu_seconds(self.upstream.pid) + cpu_seconds(self.generator.pid) + time.process_time()
        return self.gateway_cpu_s() + rig


def run(plan: Plan, progress: Progress) -> Result:
    """Raises RunError. Whatever was started has ended when this returns or raises."""
    deadline = time.monotonic() + plan.budget_s
    # A file that cannot be removed must not cost the figures.
    scratch = tempfile.TemporaryDirectory(prefix="ailb-benchmark-", ignore_cleanup_errors=True)
    with scratch as name, ExitStack() as stack:
        rig = _start(stack, Path(name))
        expected = {w.name: _expected(rig, w) for w in plan.workloads}
        for workload in plan.workloads:
            _measure(rig, _warm_up(rig, workload, expected[workload.name]))
        idle, memory = _idle_cpu(rig), rig.memory()
        samples = list(_samples(rig, plan, expected, progress, deadline))
        complete = len(samples) == plan.repetitions * len(plan.cells())
        surroundings = Surroundings(rig.start_s, rig.cpus, idle, memory, rig.memory())
        return Result(surroundings, samples, complete)


def _start(stack: ExitStack, directory: Path) -> Rig:
    upstream_port, http_port, grpc_port = free_ports(3)
    bare = _begin(stack, lambda: upstream(upstream_port, directory))
    bare.until_ready(lambda: _answers(upstream_port))
    started = time.perf_counter()
    gateway = _begin(stack, lambda: ailb((http_port, grpc_port), upstream_port, directory))
    gateway.until_ready(lambda: _answers(http_port))
    start_s = time.perf_counter() - started
    generator = _begin(stack, lambda: Generator(directory / "generator.log"))
    envoy = _envoy(gateway)
    cpus = cpu_pair()
    if cpus is not None:
        _pin_all(cpus, gateway=(gateway.pid, envoy, os.getpid()), rig=(bare.pid, generator.pid))
    ports: dict[Target, int] = {"AILB": http_port, "upstream": upstream_port}
    return Rig(ports, gateway, envoy, bare, generator, start_s, cpus)


def _pin_all(cpus: tuple[int, int], gateway: Sequence[int], rig: Sequence[int]) -> None:
    """We sleep while a cell is measured, and hold the yardstick to the gateway's CPU before."""
    for pids, cpu in ((gateway, cpus[0]), (rig, cpus[1])):
        for pid in pids:
            pin(pid, cpu)


def _begin(stack: ExitStack, start: Callable[[], _Started]) -> _Started:
    with undisturbed():
        program = start()
        stack.push(program)
    return program


def _answers(port: int) -> bool:
    body = '{"model":"demo","messages":[{"role":"user","content":"Hello"}]}'
    return post(port, body) is not None


def _envoy(gateway: Program) -> int:
    found = [process.pid for process in gateway.family() if process.name == "envoy"]
    if len(found) != 1:
        raise RunError(f"AILB has {len(found)} processes named envoy instead of one")
    return found[0]


def _expected(rig: Rig, workload: Workload) -> bytes:
    body = post(rig.ports["upstream"], workload.body)
    if body is None:
        raise RunError(f"the upstream does not answer the workload {workload.name}")
    return without_identity(body)


def _samples(
    rig: Rig, plan: Plan, expected: dict[str, bytes], progress: Progress, deadline: float
) -> Iterator[Sample]:
    cells = plan.cells() * plan.repetitions
    for number, cell in enumerate(cells, 1):
        if time.monotonic() > deadline:
            return
        progress(number, len(cells), cell)
        yield _sample(rig, cell, _order(rig, plan, cell, expected[cell.workload.name]))


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


def _order(rig: Rig, plan: Plan, cell: Cell, expected: bytes) -> Order:
    warm_s, window_s = plan.times(cell.target)
    return Order(
        port=rig.ports[cell.target],
        body=cell.workload.body,
        expected=expected.decode(),
        stream=cell.workload.stream,
        concurrency=cell.concurrency,
        warm_s=warm_s,
        window_s=window_s,
        max_requests=MAX_REQUESTS,
        pids={
            "server": rig.gateway.pid,
            "envoy": rig.envoy,
            "upstream": rig.upstream.pid,
            "generator": rig.generator.pid,
        },
    )


def _warm_up(rig: Rig, workload: Workload, expected: bytes) -> Order:
    return Order(
        port=rig.ports["AILB"],
        body=workload.body,
        expected=expected.decode(),
        stream=workload.stream,
        concurrency=_WARM_UP_CONCURRENCY,
        warm_s=0.0,
        window_s=_WARM_UP_S,
        max_requests=MAX_REQUESTS,
        pids={},
    )


def _idle_cpu(rig: Rig) -> float:
    before, started = rig.gateway_cpu_s(), time.perf_counter()
    time.sleep(_IDLE_S)
    return (rig.gateway_cpu_s() - before) / (time.perf_counter() - started)
