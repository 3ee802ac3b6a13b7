"""`python -m benchmarks.routing`: CPU time that routing adds to one request.

Prints a table. Opens no socket, starts no process. See benchmarks/README.md.
"""

import argparse
import asyncio
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

from ailb_server.domain.chat import ChatRequest
from ailb_server.routing.strategies import STRATEGIES
from benchmarks.figures import Typical, typical
from benchmarks.machine import cpu_model
from benchmarks.routing_setup import (
    Caller,
    Routing,
    demanding_chat,
    plain_chat,
    routing,
    with_routes,
)

AIM_US = 50.0
TARGETS = (1, 50)
ROUTES = 100
ROUTED = f"plan, 50 targets, 1 of {ROUTES} routes"
UNROUTED = f"plan, 1 target, none of {ROUTES} routes"
OPEN = "Dispatcher.open, 1 target"
PROVIDER = "of it the fake provider's own"

_SECONDS = 12.0
_REPETITIONS = 7
_MIN_REPETITIONS = 5
# So few that even the slowest cell's batch is short beside its window.
_BATCH = 50
_NS_PER_US = 1000

# Runs one batch; the CPU time of this process that it took, in ns.
Batch: TypeAlias = Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Case:
    """One column: what the request asks, and whether its targets' capabilities are declared."""

    targets: int
    title: str
    demanding: bool
    declared: bool


CASES = tuple(
    Case(targets, *case)
    for targets in TARGETS
    for case in (("plain", False, False), ("declared", False, True), ("needs all", True, True))
)
Cell: TypeAlias = tuple[str, Case] | str
Figures: TypeAlias = Mapping[Cell, Typical]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, whether the aim is met or not: a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.routing", description=__doc__)
    parser.add_argument("--seconds", type=float, default=_SECONDS, help="time for all of it")
    parser.add_argument("--repetitions", type=int, default=_REPETITIONS, help="of every cell")
    options = parser.parse_args(arguments)
    if options.repetitions < _MIN_REPETITIONS:
        parser.error(f"--repetitions: at least {_MIN_REPETITIONS}")
    print(text(asyncio.run(measure(options.seconds, options.repetitions)), options.repetitions))
    return 0


async def measure(seconds: float, repetitions: int) -> Figures:
    """µs of CPU per call, of every cell. Each repetition visits all cells, so that a disturbance
    hits all alike; every cell runs at least one batch, however few `seconds` (of time) are left."""
    cells = _cells()
    window_s = seconds / (repetitions + 1) / len(cells)
    found: dict[Cell, list[float]] = {cell: [] for cell in cells}
    for repetition in range(repetitions + 1):
        for cell, batch in cells.items():
            us = await _per_call_us(batch, window_s)
            # The first is the warm-up.
            if repetition:
                found[cell].append(us)
    figures = {cell: typical(values) for cell, values in found.items()}
    return {cell: figure for cell, figure in figures.items() if figure is not None}


def text(figures: Figures, repetitions: int) -> str:
    """The table, for people."""
    widest = max(figures, key=lambda cell: figures[cell].spread)
    usual = statistics.median(figure.spread for figure in figures.values())
    return "\n".join(
        [
            f"Routing: µs of process CPU per request, medians of {repetitions}."
            f" {os.cpu_count()} CPUs ({cpu_model()}), Python {platform.python_version()}",
            "",
            *_table(figures),
            "",
            _verdict(figures),
            "",
            *(
                f"{name:<36}{figures[name].median:>9.1f}"
                for name in (ROUTED, UNROUTED, OPEN, PROVIDER)
            ),
            "",
            f"Spread of the repetitions: ±{usual:.0%} in the median cell,"
            f" ±{figures[widest].spread:.0%} in the widest ({_name(widest)}).",
        ]
    )


def _table(figures: Figures) -> list[str]:
    counts = [f"{case.targets} target{'s' if case.targets > 1 else ''}" for case in CASES]
    lines = [
        f"{'':<20}" + "".join(f"{count:>12}" for count in counts),
        f"{'Router.plan()':<20}" + "".join(f"{case.title:>12}" for case in CASES),
    ]
    for name in STRATEGIES:
        medians = (figures[name, case].median for case in CASES)
        lines.append(f"{name:<20}" + "".join(f"{median:>12.1f}" for median in medians))
    aims = (f"< {AIM_US:g}" if case.targets == max(TARGETS) else "" for case in CASES)
    return [*lines, f"{'aim':<20}" + "".join(f"{aim:>12}" for aim in aims)]


def _verdict(figures: Figures) -> str:
    medians = {
        f"{name} ({case.title})": figures[name, case].median
        for name in STRATEGIES
        for case in CASES
        if case.targets == max(TARGETS)
    }
    missed = [cell for cell, median in medians.items() if median >= AIM_US]
    verdict = f"missed by {', '.join(missed)}" if missed else "met by all"
    return f"Aim of less than {AIM_US:g} µs with {max(TARGETS)} targets: {verdict}."


def _name(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    strategy, case = cell
    return f"{strategy}, {case.title}, {case.targets}"


def _cells() -> dict[Cell, Batch]:
    cells: dict[Cell, Batch] = {}
    for case in CASES:
        request = demanding_chat() if case.demanding else plain_chat()
        for name in STRATEGIES:
            # Its own router: a strategy's traces must not change the next one's work.
            built = routing(case.targets, declared=case.declared)
            cells[name, case] = partial(_plans, built, request, name)
    routed = with_routes(routing(max(TARGETS), declared=False), ROUTES)
    cells[ROUTED] = partial(_plans, routed, plain_chat(), None, Caller())
    unrouted = with_routes(routing(max(TARGETS), declared=False), ROUTES)
    cells[UNROUTED] = partial(_plans, unrouted, replace(plain_chat(), model="p0/m"), None, Caller())
    single = routing(1, declared=False)
    cells[OPEN] = partial(_opens, single, plain_chat())
    cells[PROVIDER] = partial(_provider_opens, single, plain_chat())
    return cells


async def _per_call_us(batch: Batch, window_s: float) -> float:
    ends = time.monotonic() + window_s
    taken = batches = 0
    while not batches or time.monotonic() < ends:
        taken += await batch()
        batches += 1
    return taken / (batches * _BATCH) / _NS_PER_US


async def _plans(
    built: Routing, request: ChatRequest, strategy: str | None, caller: Caller | None = None
) -> int:
    plan = built.router.plan
    before = time.process_time_ns()
    for _ in range(_BATCH):
        plan(request, strategy, caller)
    return time.process_time_ns() - before


async def _opens(built: Routing, request: ChatRequest) -> int:
    # A plan is opened once only, and was measured already.
    plans = [built.router.plan(request) for _ in range(_BATCH)]
    before = time.process_time_ns()
    for plan in plans:
        async with built.dispatcher.open(plan, request) as answer:
            async for _ in answer.rest:
                pass
    return time.process_time_ns() - before


async def _provider_opens(built: Routing, request: ChatRequest) -> int:
    before = time.process_time_ns()
    for _ in range(_BATCH):
        async with built.first.open(request, request.model) as answer:
            async for _chunk in answer.chunks:
                pass
    return time.process_time_ns() - before


if __name__ == "__main__":
    raise SystemExit(main())
