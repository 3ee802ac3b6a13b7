"""What is measured, and for how long."""

import json
from dataclasses import dataclass
from itertools import product
from typing import Literal, TypeAlias

Target: TypeAlias = Literal["AILB", "upstream"]

CONCURRENCIES = (1, 16, 64)
TARGETS: tuple[Target, ...] = ("AILB", "upstream")
STREAM_CHUNKS = 50
# More requests than this in one window tell nothing more.
MAX_REQUESTS = 20_000

_QUESTION = "Tell me in one short sentence what a load balancer is for."
_LARGE_PROMPT_BYTES = 32 * 1024
# For starts, stops and the tails of measurements.
_OVERHEAD_S = 12.0
_WARM_SHARE = 0.15
_MAX_WARM_S = 0.3
_MIN_WINDOW_S = 0.1


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request."""

    name: str
    title: str
    body: str
    stream: bool = False


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table."""

    workload: Workload
    concurrency: int
    target: Target


@dataclass(frozen=True, slots=True)
class Plan:
    """All cells, one repetition after the other. The upstream is measured for half as long."""

    workloads: tuple[Workload, ...]
    repetitions: int
    budget_s: float

    def cells(self) -> list[Cell]:
        """One repetition; AILB and the upstream take turns, so that both see the same noise."""
        return [Cell(*cell) for cell in product(self.workloads, CONCURRENCIES, TARGETS)]

    def times(self, target: Target) -> tuple[float, float]:
        """Seconds of warm-up and of measuring for one cell."""
        shares = self.repetitions * len(self.workloads) * len(CONCURRENCIES) * 3
        share = max(0.0, self.budget_s - _OVERHEAD_S) / shares
        whole = share * (2 if target == "AILB" else 1)
        warm = min(_MAX_WARM_S, whole * _WARM_SHARE)
        return warm, max(_MIN_WINDOW_S, whole - warm)


def workloads() -> dict[str, Workload]:
    """Every workload by its name."""
    known = (
        Workload("small", "one short question, one answer of about 650 bytes", _chat(_QUESTION)),
        Workload(
            "stream",
            f"{STREAM_CHUNKS} chunks without pause, each written by itself",
            # The role, the words and the finish are the chunks.
            _chat(_QUESTION, stream=True, demo={"words": STREAM_CHUNKS - 2}),
            stream=True,
        ),
        Workload(
            "large",
            "a prompt of 32 KB, a short answer",
            _chat("lorem ipsum " * (_LARGE_PROMPT_BYTES // 12), demo={"words": 20}),
        ),
    )
    return {workload.name: workload for workload in known}


def _chat(prompt: str, **fields: object) -> str:
    messages = [{"role": "user", "content": prompt}]
    return json.dumps({"model": "demo", "messages": messages, **fields}, separators=(",", ":"))
