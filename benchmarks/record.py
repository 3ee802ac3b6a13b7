"""A run's result as it is written to JSON, and read again for the document."""

import json
import os
import platform
import statistics
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.comparison import comparisons
from benchmarks.figures import Typical
from benchmarks.machine import cpu_model
from benchmarks.plan import Cell, Plan
from benchmarks.report import Row, rows
from benchmarks.run import Result, Sample, Surroundings


@dataclass(frozen=True, slots=True)
class Machine:
    """Where it ran."""

    cpus: int
    model: str
    kernel: str
    python: str


@dataclass(frozen=True, slots=True)
class RowRecord:
    """A cell over all repetitions; CPU in ms for each answer, latencies in ms."""

    workload: str
    load: str
    target: str
    done: int
    slow: int
    errors: dict[str, int]
    figures: dict[str, Typical]


@dataclass(frozen=True, slots=True)
class ComparisonRecord:
    """See `comparison.py`."""

    kind: str
    workload: str
    load: str
    target: str
    value: Typical


@dataclass(frozen=True, slots=True)
class Record:
    """All of a run but its repetitions."""

    at: str
    version: str
    command: str
    machine: Machine
    workloads: dict[str, str]
    repetitions: int
    complete: bool
    foreign_cpu: float
    yardstick_ms: float
    surroundings: Surroundings
    rows: list[RowRecord]
    comparisons: list[ComparisonRecord]

    def row(self, workload: str, load: str, target: str) -> RowRecord | None:
        """The cell's, if it was measured."""
        for row in self.rows:
            if (row.workload, row.load, row.target) == (workload, load, target):
                return row
        return None

    def figure(self, place: tuple[str, str, str], heading: str) -> float | None:
        """The median of a cell's figure; `place` is workload, load and target."""
        row = self.row(*place)
        found = None if row is None else row.figures.get(heading)
        return None if found is None else found.median

    def compared(self, place: tuple[str, str, str], kind: str) -> float | None:
        """The median of a comparison."""
        for found in self.comparisons:
            if (found.workload, found.load, found.target, found.kind) == (*place, kind):
                return found.value.median
        return None


def record(plan: Plan, result: Result, command: str) -> Record:
    """What there is to tell of a run."""
    samples = result.samples
    count = max(1, len(samples))
    return Record(
        at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=metadata.version("ailb-server"),
        command=command,
        machine=machine(),
        workloads={workload.name: workload.title for workload in plan.workloads},
        repetitions=plan.repetitions,
        complete=result.complete,
        foreign_cpu=sum(sample.foreign_cpu for sample in samples) / count,
        yardstick_ms=statistics.median([sample.yardstick_ms for sample in samples] or [0.0]),
        surroundings=result.surroundings,
        rows=[_row(row) for row in rows(result)],
        comparisons=[
            ComparisonRecord(found.kind, *_place(found.cell), found.value)
            for found in comparisons(samples)
        ],
    )


def machine() -> Machine:
    """This one."""
    return Machine(os.cpu_count() or 0, cpu_model(), platform.release(), platform.python_version())


def write(directory: Path, found: Record, samples: list[Sample]) -> Path:
    """Writes it, with each repetition, under the time's name."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"chat-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.json"
    value = asdict(found) | {"samples": [_sample(sample) for sample in samples]}
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    return path


def read(path: Path) -> Record:
    """Raises OSError, and ValueError if it is not one."""
    return TypeAdapter(Record).validate_json(path.read_text(encoding="utf-8"))


def _row(row: Row) -> RowRecord:
    figures = {heading: value for heading, value in row.figures.items() if value}
    return RowRecord(*_place(row.cell), row.done, row.slow, row.errors, figures)


def _place(cell: Cell) -> tuple[str, str, str]:
    return cell.workload.name, cell.load, cell.target


def _sample(sample: Sample) -> dict[str, object]:
    workload, load, target = _place(sample.cell)
    return {
        "workload": workload,
        "load": load,
        "target": target,
        **asdict(sample.outcome),
        "foreign_cpu": sample.foreign_cpu,
        "yardstick_ms": sample.yardstick_ms,
    }
