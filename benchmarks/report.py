"""A run's result as text for people."""

import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata

from benchmarks.comparison import FLOOR, Pick, answers, comparisons, cpu_ms
from benchmarks.figures import SLOW_MS, Latency, Typical, typical
from benchmarks.load import Outcome
from benchmarks.machine import cpu_model
from benchmarks.plan import Cell, Plan
from benchmarks.rig import Memory
from benchmarks.run import Result, Sample, Surroundings
from benchmarks.workloads import Workload

# Above this, other processes have moved the latencies much and the CPU times somewhat.
_NOISY_CPUS = 0.1
_MB = 1024 * 1024
_NARROW, _WIDE = 9, 15


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a cell: its heading, its unit's decimals, where an outcome has it.

    `spread`: shown with how far the repetitions lie apart. `of`: the workloads that have it.
    """

    heading: str
    decimals: int
    pick: Pick
    spread: bool = False
    of: Callable[[Workload], bool] = lambda _workload: True


def _of(pick: Callable[[Latency], float], kind: str = "latency") -> Pick:
    def value(_cell: Cell, outcome: Outcome) -> float | None:
        kinds = {"latency": outcome.latency, "first": outcome.first_byte, "gap": outcome.gap}
        found = kinds[kind]
        return pick(found) if found else None

    return value


def _chunk_us(cell: Cell, outcome: Outcome) -> float | None:
    used = outcome.cpu_s.get("server")
    return None if used is None or not outcome.chunks else used * 1e6 / outcome.chunks


def _streams(workload: Workload) -> bool:
    return workload.stream


def _paced(workload: Workload) -> bool:
    return workload.pace_ms > 0


COLUMNS = (
    Column("RPS", 0, lambda cell, found: answers(cell, found) / found.window_s, spread=True),
    Column("p50 ms", 2, _of(lambda latency: latency.p50)),
    Column("p95 ms", 2, _of(lambda latency: latency.p95)),
    Column("p99 ms", 2, _of(lambda latency: latency.p99)),
    Column("TTFT p50", 2, _of(lambda latency: latency.p50, "first"), of=_streams),
    Column("TTFT p99", 2, _of(lambda latency: latency.p99, "first"), of=_streams),
    Column("gap p99", 2, _of(lambda latency: latency.p99, "gap"), of=_paced),
    Column("server CPU ms", 3, cpu_ms("server"), spread=True),
    Column("Envoy CPU ms", 3, cpu_ms("envoy"), spread=True),
    Column("µs/chunk", 1, _chunk_us, of=_streams),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A cell over all repetitions."""

    cell: Cell
    done: int
    slow: int
    errors: dict[str, int]
    figures: dict[str, Typical | None]


def rows(result: Result) -> list[Row]:
    """The table, in the order in which the cells were measured first."""
    cells: dict[Cell, list[Outcome]] = {}
    for sample in result.samples:
        cells.setdefault(sample.cell, []).append(sample.outcome)
    return [_row(cell, outcomes) for cell, outcomes in cells.items()]


def errors(result: Result) -> int:
    """Requests that failed, in all."""
    return sum(sum(sample.outcome.errors.values()) for sample in result.samples)


def text(plan: Plan, result: Result) -> str:
    """Everything, readable on a terminal of 150 columns."""
    parts = [_heading(), surroundings(result.surroundings), *_tables(plan, rows(result))]
    return "\n".join([*parts, *_compared(result), *_verdicts(plan, result)])


def surroundings(found: Surroundings) -> str:
    """What was measured beside the cells."""
    pinned = (
        f"servers and Envoys on CPU {found.cpus[0]}, upstream and generator on CPU {found.cpus[1]}"
        if found.cpus
        else "nothing: there is only one CPU, so latencies hold the rig's own work too"
    )
    lines = [f"  Pinned    {pinned}"]
    if found.up_s:
        lines.append(
            f"  Start     {found.up_s:.2f} s from `ailb up`, no data yet, to the first chat"
        )
    if found.starts:
        lines.append(
            f"  Ready     {found.starts.ready_s:.2f} s from `ailb serve`, with a running Postgres"
            f" ({found.starts.first_s:.2f} s if the database is empty),"
            f" {found.starts.resident / _MB:.0f} MB"
        )
    for target, memory in found.memory_idle.items():
        after = _memory(found.memory_end[target])
        lines.append(f"  Resident  {target}: {_memory(memory)} before, {after} after")
    if found.up_s:
        lines.append(f"  Idle      {found.idle_cpu:.1%} of a CPU")
    return "\n".join(lines)


def _row(cell: Cell, outcomes: Sequence[Outcome]) -> Row:
    failures: dict[str, int] = {}
    for outcome in outcomes:
        for kind, count in outcome.errors.items():
            failures[kind] = failures.get(kind, 0) + count
    columns = (column for column in COLUMNS if column.of(cell.workload))
    picked = {c.heading: [c.pick(cell, outcome) for outcome in outcomes] for c in columns}
    return Row(
        cell,
        sum(outcome.done for outcome in outcomes),
        sum(outcome.latency.slow for outcome in outcomes if outcome.latency),
        failures,
        {h: typical([v for v in values if v is not None]) for h, values in picked.items()},
    )


def _heading() -> str:
    version = metadata.version("ailb-server")
    return (
        f"AILB {version}, chat benchmark. {os.cpu_count()} CPUs ({cpu_model()}),"
        f" Linux {platform.release()}, Python {platform.python_version()}"
    )


def _memory(memory: Memory) -> str:
    parts = (("server", memory.server), ("Envoy", memory.envoy))
    return ", ".join(f"{name} {size / _MB:.0f} MB" for name, size in parts if size)


def _tables(plan: Plan, table: Sequence[Row]) -> Iterator[str]:
    for workload in plan.workloads:
        kept = [column for column in COLUMNS if column.of(workload)]
        yield f"\n{workload.name}: {workload.title}"
        yield _line(["c", "to", "done", "errors"], [(column.heading, column) for column in kept])
        for row in table:
            if row.cell.workload is workload:
                yield _line(_counts(row), [(_figure(row, column), column) for column in kept])


def _counts(row: Row) -> list[str]:
    failed = sum(row.errors.values())
    return [row.cell.load, row.cell.target, f"{row.done:,}", str(failed)]


def _figure(row: Row, column: Column) -> str:
    value = row.figures[column.heading]
    if value is None:
        return "-"
    spread = f" ±{value.spread:.0%}" if column.spread else ""
    return f"{value.median:,.{column.decimals}f}{spread}"


def _line(counts: Sequence[str], figures: Sequence[tuple[str, Column]]) -> str:
    load, target, done, failed = counts
    return f"{load:>4}  {target:<10}{done:>8}{failed:>7}" + "".join(
        f"{value:>{_WIDE if column.spread else _NARROW}}" for value, column in figures
    )


def _compared(result: Result) -> Iterator[str]:
    found = comparisons(result.samples)
    if found:
        yield f"\nIn pairs: AILB's server CPU by the {FLOOR}'s, its first byte less the upstream's"
    for each in found:
        # Beyond one connection a first byte waits for its turn, which is no delay of ours.
        if each.kind.startswith("TTFT") and each.cell.load != "1":
            continue
        where = f"{each.cell.workload.name} c={each.cell.load} {each.cell.target}"
        value = f"{each.value.median:7.2f}  ({each.value.low:.2f} to {each.value.high:.2f})"
        yield f"  {where:<28}{each.kind:<22}{value}"


def _verdicts(plan: Plan, result: Result) -> Iterator[str]:
    yield "\nMedians of repetitions; ± is half of their range. CPU ms are for each answer."
    for row in rows(result):
        # What waits for Postgres is not told from a socket that waits.
        if row.cell.load == "1" and not row.cell.workload.context:
            yield _steps(row)
    yield from _circumstances(result.samples)
    if not result.complete:
        yield f"INCOMPLETE: the time of {plan.budget_s:g} s was over."
    for row in rows(result):
        if row.errors:
            where = f"{row.cell.workload.name} c={row.cell.load} {row.cell.target}"
            yield f"ERRORS: {where}: {row.errors}"


def _circumstances(samples: Sequence[Sample]) -> Iterator[str]:
    yardstick = typical([sample.yardstick_ms for sample in samples])
    foreign = [sample.foreign_cpu for sample in samples]
    if yardstick is None:
        return
    mean = sum(foreign) / len(foreign)
    busy = "  (busy: every figure is worse than on a quiet machine)" if mean > _NOISY_CPUS else ""
    yield f"Other processes kept {mean:.2f} CPUs busy meanwhile, {max(foreign):.2f} at most.{busy}"
    yield (
        f"The yardstick, a fixed piece of Python, took {yardstick.median:.1f} ms"
        f" ±{yardstick.spread:.0%} of CPU time."
    )


def _steps(row: Row) -> str:
    p99, slow = row.figures["p99 ms"], row.slow
    name = f"{row.cell.workload.name}, {row.cell.target}"
    if p99 is None:
        return f"p99 at c=1, {name}: nothing measured"
    verdict = "40 ms STEPS" if p99.median > SLOW_MS else "no 40 ms steps"
    return (
        f"p99 at c=1, {name}: {p99.median:.2f} ms, {slow} of {row.done:,} samples over"
        f" {SLOW_MS:.0f} ms: {verdict} (Nagle, delayed ACK)"
    )
