"""What is read off two targets of one run: repetition by repetition, so that both saw the same."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from benchmarks.figures import Typical, typical
from benchmarks.load import Outcome
from benchmarks.plan import GATEWAYS, Cell, Target
from benchmarks.run import Sample

FLOOR: Target = "relay"

Pick: TypeAlias = Callable[[Cell, Outcome], float | None]
_Both: TypeAlias = Callable[[float, float], float]


@dataclass(frozen=True, slots=True)
class Comparison:
    """A figure of a cell compared with another target's: `kind` says how."""

    kind: str
    cell: Cell
    value: Typical


def answers(cell: Cell, outcome: Outcome) -> float:
    """How many answers the window holds: of streams, those that it cuts are counted in part."""
    # A peer may cut its streams into other chunks.
    if not cell.workload.stream or cell.target == "LiteLLM":
        return float(outcome.done)
    # The closing event is one too.
    return outcome.chunks / (cell.workload.chunks + 1)


def cpu_ms(role: str) -> Pick:
    """CPU milliseconds of the process with that role, for each answer."""

    def value(cell: Cell, outcome: Outcome) -> float | None:
        count = answers(cell, outcome)
        return outcome.cpu_s[role] * 1000 / count if count and role in outcome.cpu_s else None

    return value


def total_cpu_ms(cell: Cell, outcome: Outcome) -> float | None:
    """Of server and Envoy together."""
    found = [cpu_ms(role)(cell, outcome) for role in ("server", "envoy")]
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def comparisons(samples: Sequence[Sample]) -> list[Comparison]:
    """Of AILB, with and without a key: server CPU by the relay's, and the first byte's delay."""
    cells: dict[Cell, list[Outcome]] = {}
    for sample in samples:
        cells.setdefault(sample.cell, []).append(sample.outcome)
    found = []
    for cell in cells:
        # Half of the one's highest rate is not half of the other's.
        if cell.target in GATEWAYS and not cell.open_loop:
            found += [_compared(kind, cell, cells) for kind in _KINDS]
    return [comparison for comparison in found if comparison is not None]


def _compared(kind: str, cell: Cell, cells: dict[Cell, list[Outcome]]) -> Comparison | None:
    other, pick, both = _KINDS[kind]
    beside = Cell(cell.workload, cell.concurrency, other)
    values = []
    # The time may have been over between the two.
    for mine, theirs in zip(cells[cell], cells.get(beside, []), strict=False):
        a, b = pick(cell, mine), pick(beside, theirs)
        if a is not None and b:
            values.append(both(a, b))
    median = typical(values)
    return None if median is None else Comparison(kind, cell, median)


def _first(share: str) -> Pick:
    def value(_cell: Cell, outcome: Outcome) -> float | None:
        found = outcome.first_byte
        if found is None:
            return None
        return found.p50 if share == "p50" else found.p99

    return value


_KINDS: dict[str, tuple[Target, Pick, _Both]] = {
    "server CPU / relay": (FLOOR, cpu_ms("server"), lambda a, b: a / b),
    "TTFT added p50 ms": ("upstream", _first("p50"), lambda a, b: a - b),
    "TTFT added p99 ms": ("upstream", _first("p99"), lambda a, b: a - b),
}
