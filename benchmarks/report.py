"""A run's result as text for people and as JSON."""

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TypeAlias

from benchmarks.figures import SLOW_MS, Latency, Typical, typical
from benchmarks.load import Outcome
from benchmarks.machine import cpu_model
from benchmarks.plan import Cell, Plan
from benchmarks.run import Memory, Result, Sample

# Above this, other processes have moved the latencies much and the CPU times somewhat.
_NOISY_CPUS = 0.1
_MB = 1024 * 1024

_Pick: TypeAlias = Callable[[Outcome], float | None]


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a cell: its heading, its unit's decimals, where an outcome has it."""

    heading: str
    decimals: int
    pick: _Pick


def _of(pick: Callable[[Latency], float], *, first_byte: bool = False) -> _Pick:
    def value(outcome: Outcome) -> float | None:
        found = outcome.first_byte if first_byte else outcome.latency
        return pick(found) if found else None

    return value


def _cpu_ms(name: str) -> _Pick:
    def value(outcome: Outcome) -> float | None:
        return outcome.cpu_s[name] * 1000 / outcome.done if outcome.done else None

    return value


_COLUMNS = (
    Column("RPS", 0, lambda outcome: outcome.done / outcome.window_s),
    Column("p50 ms", 2, _of(lambda latency: latency.p50)),
    Column("p99 ms", 2, _of(lambda latency: latency.p99)),
    Column("first byte p50", 2, _of(lambda latency: latency.p50, first_byte=True)),
    Column("first byte p99", 2, _of(lambda latency: latency.p99, first_byte=True)),
    Column("server CPU ms", 3, _cpu_ms("server")),
    Column("Envoy CPU ms", 3, _cpu_ms("envoy")),
)
_GATEWAY_ONLY = ("server CPU ms", "Envoy CPU ms")


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
    parts = [_heading(), _surroundings(result), *_tables(plan, rows(result))]
    return "\n".join([*parts, *_verdicts(plan, result)])


def document(plan: Plan, result: Result) -> str:
    """Everything as JSON, each repetition too. Latencies in ms, CPU in ms per request."""
    value = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "plan": asdict(plan),
        "complete": result.complete,
        "surroundings": asdict(result.surroundings),
        "rows": [_named(row.cell) | _row_values(row) for row in rows(result)],
        "samples": [_sample_values(sample) for sample in result.samples],
    }
    return json.dumps(value, indent=1) + "\n"


def write(directory: Path, document_text: str) -> Path:
    """Writes the document under the time's name."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"chat-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    path.write_text(document_text, encoding="utf-8")
    return path


def _row(cell: Cell, outcomes: Sequence[Outcome]) -> Row:
    failures: dict[str, int] = {}
    for outcome in outcomes:
        for kind, count in outcome.errors.items():
            failures[kind] = failures.get(kind, 0) + count
    picked = {c.heading: [c.pick(outcome) for outcome in outcomes] for c in _COLUMNS}
    return Row(
        cell,
        sum(outcome.done for outcome in outcomes),
        sum(outcome.latency.slow for outcome in outcomes if outcome.latency),
        failures,
        {h: typical([v for v in values if v is not None]) for h, values in picked.items()},
    )


def _heading() -> str:
    machine = _machine()
    version = metadata.version("ailb-server")
    return (
        f"AILB {version}, chat benchmark. {machine['cpus']} CPUs ({machine['model']}),"
        f" Linux {machine['kernel']}, Python {machine['python']}"
    )


def _machine() -> dict[str, str | int]:
    return {
        "cpus": os.cpu_count() or 0,
        "model": cpu_model(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _surroundings(result: Result) -> str:
    found = result.surroundings
    pinned = (
        f"server and Envoy on CPU {found.cpus[0]}, upstream and generator on CPU {found.cpus[1]}"
        if found.cpus
        else "nothing: there is only one CPU, so latencies hold the rig's own work too"
    )
    return (
        f"  Pinned    {pinned}\n"
        f"  Start     {found.start_s:.2f} s from `ailb up`, no data yet, to the first chat\n"
        f"  Resident  {_memory(found.memory_idle)} before, {_memory(found.memory_end)} after\n"
        f"  Idle      {found.idle_cpu:.1%} of a CPU"
    )


def _memory(memory: Memory) -> str:
    return f"server {memory.server / _MB:.0f} MB, Envoy {memory.envoy / _MB:.0f} MB"


def _tables(plan: Plan, table: Sequence[Row]) -> Iterator[str]:
    for workload in plan.workloads:
        kept = [c for c in _COLUMNS if workload.stream or not c.heading.startswith("first byte")]
        yield f"\n{workload.name}: {workload.title}"
        yield _line(["c", "to", "done", "errors", *(column.heading for column in kept)])
        for row in table:
            if row.cell.workload is workload:
                yield _line([*_counts(row), *(_figure(row, column) for column in kept)])


def _counts(row: Row) -> list[str]:
    failed = sum(row.errors.values())
    return [str(row.cell.concurrency), row.cell.target, f"{row.done:,}", str(failed)]


def _figure(row: Row, column: Column) -> str:
    value = row.figures[column.heading]
    if value is None or (row.cell.target != "AILB" and column.heading in _GATEWAY_ONLY):
        return "-"
    return f"{value.median:,.{column.decimals}f} ±{value.spread:.0%}"


def _line(values: Sequence[str]) -> str:
    c, target, *rest = values
    return f"{c:>4}  {target:<9}" + "".join(
        f"{value:>{8 if index < 2 else 16}}"  # noqa: PLR2004 - the counts are narrow
        for index, value in enumerate(rest)
    )


def _verdicts(plan: Plan, result: Result) -> Iterator[str]:
    yield "\nMedians of repetitions; ± is half of their range. CPU ms are per request."
    yield from (_steps(row) for row in rows(result) if row.cell.concurrency == 1)
    yield from _circumstances(result.samples)
    if not result.complete:
        yield f"INCOMPLETE: the time of {plan.budget_s:g} s was over."
    for row in rows(result):
        if row.errors:
            where = f"{row.cell.workload.name} c={row.cell.concurrency} {row.cell.target}"
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


def _named(cell: Cell) -> dict[str, object]:
    return {
        "workload": cell.workload.name,
        "concurrency": cell.concurrency,
        "target": cell.target,
    }


def _row_values(row: Row) -> dict[str, object]:
    figures = {heading: asdict(value) for heading, value in row.figures.items() if value}
    return {"done": row.done, "slow": row.slow, "errors": row.errors, "figures": figures}


def _sample_values(sample: Sample) -> dict[str, object]:
    return _named(sample.cell) | {
        **asdict(sample.outcome),
        "foreign_cpu": sample.foreign_cpu,
        "yardstick_ms": sample.yardstick_ms,
    }
