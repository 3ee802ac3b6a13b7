"""`python -m benchmarks.import_load`: what chats notice of a large import, with a real model.

Windows with and without an import that runs take turns, on one `ailb up`. Prints figures and
ratios. See benchmarks/README.md.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.import_traffic import Importer, at_rest, until
from benchmarks.load import Order, Outcome, without_identity
from benchmarks.machine import busy_seconds, cpu_model
from benchmarks.plan import MAX_REQUESTS
from benchmarks.programs import Generator, Program, RunError, ailb, free_ports, post, upstream
from benchmarks.stopping import StoppedError, stoppable, undisturbed
from benchmarks.workloads import workloads
from tests.support.embedding import model_at

_WARM_S = 0.3
_WORKER = b"ailb_server.embedding.worker"
_INTERRUPTED = 130
_FACTS = "facts"
_QUESTION = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Which tenant keeps the budget of a route?"}],
}


@dataclass(frozen=True, slots=True)
class Rig:
    """Everything that runs."""

    port: int
    gateway: Program
    embedder: int
    generator: Generator
    importer: Importer


@dataclass(frozen=True, slots=True)
class Window:
    """`busy_cpus` is how many CPUs all processes of the machine kept busy."""

    outcome: Outcome
    busy_cpus: float

    @property
    def cpu_ms(self) -> float:
        """The server's CPU time for each chat, imports included."""
        return self.outcome.cpu_s["server"] * 1000 / max(1, self.outcome.done)

    @property
    def embedder_cpus(self) -> float:
        """The embedder's share of a CPU."""
        return self.outcome.cpu_s["embedder"] / self.outcome.window_s


@dataclass
class Row:
    """A kind of chat at a concurrency: windows in pairs."""

    name: str
    concurrency: int
    body: str
    quiet: list[Window] = field(default_factory=list)
    busy: list[Window] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """0, also if the aim is missed: a busy machine is no fault of the code; 1 if a chat failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.import_load", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each window")
    parser.add_argument("--repetitions", type=int, default=3, help="pairs of windows for each row")
    parser.add_argument("--concurrency", default="1,4")
    options = parser.parse_args(arguments)
    levels = [int(level) for level in options.concurrency.split(",")]
    try:
        with stoppable():
            rows = _run(levels, options.repetitions, options.seconds)
    except StoppedError:
        return _INTERRUPTED
    except RunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(f"{cpu_model()}; {os.cpu_count()} CPUs")
    for row in rows:
        _tell(row)
    failed = {kind for row in rows for w in (*row.quiet, *row.busy) for kind in w.outcome.errors}
    if failed:
        print(f"Chats failed: {', '.join(sorted(failed))}")
    return 1 if failed else 0


def _run(levels: Sequence[int], repetitions: int, seconds: float) -> list[Row]:
    scratch = tempfile.TemporaryDirectory(prefix="ailb-benchmark-", ignore_cleanup_errors=True)
    with scratch as name, ExitStack() as stack:
        rig = _start(stack, Path(name))
        rig.importer.fill(_FACTS, 20)
        rows = list(_rows(levels))
        for number in range(repetitions):
            for row in rows:
                _progress(f"{number + 1}/{repetitions} {row.name} c={row.concurrency}")
                row.quiet.append(_quiet(rig, row, seconds))
                row.busy.append(_busy(rig, row, seconds))
        return rows


def _start(stack: ExitStack, directory: Path) -> Rig:
    upstream_port, http_port, grpc_port = free_ports(3)
    # Where another may read it: as root, AILB's Postgres and its workers are not we.
    model = model_at(directory)
    settings = {
        "EMBEDDING_BACKEND": "local",
        "EMBEDDING_MODEL": str(model),
        # Else only the first search of each question would be one.
        "RAG_CACHE_SIZE": "0",
    }
    _begin(stack, lambda: upstream(upstream_port, directory))
    gateway = _begin(
        stack, lambda: ailb((http_port, grpc_port), upstream_port, directory, settings)
    )
    gateway.until_ready(lambda: post(http_port, json.dumps(_QUESTION)) is not None)
    generator = Generator(directory / "generator.log")
    stack.push(generator)
    return Rig(http_port, gateway, _embedder(gateway), generator, Importer(http_port))


def _begin(stack: ExitStack, start: Callable[[], Program]) -> Program:
    with undisturbed():
        program = start()
        stack.push(program)
    return program


def _rows(levels: Sequence[int]) -> Iterator[Row]:
    bodies: Mapping[str, str] = {
        "a chat": workloads()["small"].body,
        "with rag_collection": json.dumps({**_QUESTION, "rag_collection": _FACTS}),
    }
    for name, body in bodies.items():
        for level in levels:
            yield Row(name, level, body)


def _quiet(rig: Rig, row: Row, seconds: float) -> Window:
    until(lambda: at_rest(rig.gateway.family), "what was imported is forgotten")
    return _window(rig, row, seconds)


def _busy(rig: Rig, row: Row, seconds: float) -> Window:
    job = rig.importer.start("large")
    window = _window(rig, row, seconds)
    if rig.importer.state(job).get("finished_at"):
        raise RunError("the import was over before the window: take shorter ones")
    rig.importer.end("large")
    return window


def _window(rig: Rig, row: Row, seconds: float) -> Window:
    order = _order(rig, row, seconds)
    started, busy = time.perf_counter(), busy_seconds()
    outcome = rig.generator.measure(order)
    lasted = time.perf_counter() - started
    return Window(outcome, (busy_seconds() - busy) / lasted)


def _order(rig: Rig, row: Row, seconds: float) -> Order:
    body = post(rig.port, row.body)
    if body is None:
        raise RunError(f"{row.name}: no answer:\n{rig.gateway.last_lines()}")
    return Order(
        port=rig.port,
        body=row.body,
        expected=without_identity(body).decode(),
        stream=False,
        concurrency=row.concurrency,
        warm_s=_WARM_S,
        window_s=seconds,
        max_requests=MAX_REQUESTS,
        pids={"server": rig.gateway.pid, "embedder": rig.embedder},
    )


def _embedder(gateway: Program) -> int:
    """The process with the model."""
    for process in gateway.family():
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes()
        if _WORKER in command:
            return process.pid
    raise RunError(f"there is no embedding worker:\n{gateway.last_lines()}")


def _tell(row: Row) -> None:
    pairs = list(zip(row.quiet, row.busy, strict=True))
    print(f"\n{row.name}, c={row.concurrency}")
    for name, pick in _FIGURES.items():
        quiet = [pick(window) for window, _ in pairs]
        busy = [pick(window) for _, window in pairs]
        ratio = statistics.median(b / q if q else 0 for q, b in zip(quiet, busy, strict=True))
        print(
            f"  {name:18} {statistics.median(quiet):8.3f} alone, {statistics.median(busy):8.3f}"
            f" beside an import: {ratio:.2f} x"
        )
    embedder = statistics.median(window.embedder_cpus for window in row.busy)
    quiet_cpus, busy_cpus = (
        statistics.median(window.busy_cpus for window in windows)
        for windows in (row.quiet, row.busy)
    )
    print(
        f"  the embedder had {embedder:.2f} CPUs beside the import; all processes of the machine"
        f" {quiet_cpus:.2f} and {busy_cpus:.2f}"
    )


def _p50(window: Window) -> float:
    return window.outcome.latency.p50 if window.outcome.latency else 0.0


def _p99(window: Window) -> float:
    return window.outcome.latency.p99 if window.outcome.latency else 0.0


def _progress(what: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{what:<50}", end="", file=sys.stderr, flush=True)


_FIGURES: Mapping[str, Callable[[Window], float]] = {
    "p50 ms": _p50,
    "p99 ms": _p99,
    "p99 / p50": lambda window: _p99(window) / _p50(window) if _p50(window) else 0.0,
    "server CPU ms/chat": lambda window: window.cpu_ms,
}


if __name__ == "__main__":
    raise SystemExit(main())
