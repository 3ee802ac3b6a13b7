"""What is measured, and for how long."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from benchmarks.workloads import Workload

Target: TypeAlias = Literal["AILB", "AILB keyed", "relay", "echo", "Envoy", "upstream", "LiteLLM"]

# As they take turns.
TARGETS: tuple[Target, ...] = (
    *("AILB", "AILB keyed", "relay", "echo"),
    *("Envoy", "LiteLLM", "upstream"),
)
GATEWAYS: tuple[Target, ...] = ("AILB", "AILB keyed")
USUAL_TARGETS: tuple[Target, ...] = ("AILB", "AILB keyed", "relay", "upstream")
# More requests than this in one window tell nothing more.
MAX_REQUESTS = 20_000
# As many connections as an open loop may use.
OPEN_CONNECTIONS = 128

# For starts and stops: of everything, of each target, and of `ailb serve`.
_OVERHEAD_S = 10.0
_TARGET_OVERHEAD_S = 1.5
_STARTS_OVERHEAD_S = 12.0
# The first requests of each kind, whose figures nobody wants.
WARM_UP_S = 0.5
# Connecting, and the tail of the requests in flight.
_CELL_OVERHEAD_S = 0.1
_WARM_SHARE = 0.15
_MAX_WARM_S = 0.3
_MIN_WINDOW_S = 0.1
# Streams come in waves: the window must hold some whole ones.
_PACED_WARM_S = 0.5
_PACED_WINDOWS = 1.25


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table. An open loop is at half of the highest rate of its target."""

    workload: Workload
    concurrency: int
    target: Target
    open_loop: bool = False

    @property
    def load(self) -> str:
        """The concurrency, or that there is none."""
        return "open" if self.open_loop else str(self.concurrency)


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells, one repetition after the other. What is not AILB or its floor has half the time.

    `starts`: whether starts of `ailb serve` are measured too.
    """

    workloads: tuple[Workload, ...]
    repetitions: int
    budget_s: float
    targets: tuple[Target, ...] = USUAL_TARGETS
    concurrencies: tuple[int, ...] = ()
    open_loop: bool = True
    starts: bool = False

    def cells(self) -> list[Cell]:
        """One repetition; the targets take turns, so that all see the same noise."""
        return [cell for workload in self.workloads for cell in self._cells(workload)]

    def times(self, cell: Cell) -> tuple[float, float]:
        """Seconds of warm-up and of measuring for one cell."""
        if cell.workload.pace_ms:
            return _PACED_WARM_S, _PACED_WINDOWS * cell.workload.lasts_s
        cells = self.cells()
        fixed = sum(_fixed_s(each, self.times(each)) for each in cells if each.workload.pace_ms)
        shared = [each for each in cells if not each.workload.pace_ms]
        left = (self.budget_s - self._overhead_s()) / self.repetitions - fixed
        left -= _CELL_OVERHEAD_S * len(shared)
        whole = max(0.0, left) * _weight(cell) / sum(_weight(each) for each in shared)
        warm = min(_MAX_WARM_S, whole * _WARM_SHARE)
        return warm, max(_MIN_WINDOW_S, whole - warm)

    def _cells(self, workload: Workload) -> Iterator[Cell]:
        targets = [t for t in TARGETS if t in self.targets and measured(workload, t)]
        for concurrency in workload.concurrencies:
            if not self.concurrencies or concurrency in self.concurrencies:
                yield from (Cell(workload, concurrency, target) for target in targets)
        if workload.open_loop and self.open_loop:
            yield from (Cell(workload, OPEN_CONNECTIONS, t, open_loop=True) for t in targets)

    def _overhead_s(self) -> float:
        starts = _STARTS_OVERHEAD_S if self.starts else 0.0
        kinds = {(cell.workload.name, cell.target) for cell in self.cells()}
        warming = (WARM_UP_S + _CELL_OVERHEAD_S) * len(kinds)
        return _OVERHEAD_S + _TARGET_OVERHEAD_S * len(self.targets) + starts + warming


def measured(workload: Workload, target: Target) -> bool:
    """Whether the target can answer it: an echo does not stream, only AILB adds context."""
    if workload.context:
        return target in GATEWAYS
    return not (target == "echo" and workload.stream)


def _weight(cell: Cell) -> int:
    return 1 if cell.target in {"upstream", "Envoy", "echo"} else 2


def _fixed_s(cell: Cell, times: tuple[float, float]) -> float:
    return sum(times) + cell.workload.lasts_s + _CELL_OVERHEAD_S
