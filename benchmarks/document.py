"""`python -m benchmarks.document RUN.json [--soak SOAK.json]`: figures into docs/performance.md.

The regions between markers are written anew, and the picture beside them; the words are kept.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import plot, record, soak_record
from benchmarks.goals import Goal, goals
from benchmarks.record import Record, RowRecord
from benchmarks.soak_record import SoakRecord

_DOCS = Path(__file__).resolve().parents[1] / "docs"
_PAGE = _DOCS / "performance.md"
_PICTURE = _DOCS / "images" / "performance.svg"
_REGION = re.compile(r"(<!-- generated: (?P<name>[a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_MB = 1024 * 1024
# Headings of the table, by those of the record.
_FIGURES = {
    "server CPU ms": ("server CPU ms", 3),
    "Envoy CPU ms": ("Envoy CPU ms", 3),
    "RPS": ("answers a second", 0),
    "p50 ms": ("p50 ms", 2),
    "p95 ms": ("p95 ms", 2),
    "p99 ms": ("p99 ms", 2),
    "TTFT p50": ("TTFT p50 ms", 2),
    "TTFT p99": ("TTFT p99 ms", 2),
    "gap p99": ("gap p99 ms", 2),
    "µs/chunk": ("server µs a chunk", 1),
}
_RATIO = "server CPU / relay"


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if a file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.document", description=__doc__)
    parser.add_argument("run", type=Path, help="the JSON of a run of benchmarks.chat")
    parser.add_argument("--soak", type=Path, help="the JSON of a run of benchmarks.soak")
    options = parser.parse_args(arguments)
    try:
        run = record.read(options.run)
        soak = None if options.soak is None else soak_record.read(options.soak)
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    _PAGE.write_text(page(_PAGE.read_text(encoding="utf-8"), run, soak), encoding="utf-8")
    _PICTURE.write_text(plot.picture(plot.panels(run)), encoding="utf-8")
    print(f"Written: {_PAGE}, {_PICTURE}")
    return 0


def page(text: str, run: Record, soak: SoakRecord | None) -> str:
    """The page with its regions made anew."""
    regions = {
        "goals": "\n".join(_goals(goals(run, soak))),
        "run": "\n".join(_about(run, soak)),
        "figures": "\n".join(_tables(run)),
    }
    return _REGION.sub(lambda m: f"{m[1]}{regions[m['name']].strip()}\n{m[3]}", text)


def _goals(found: Sequence[Goal]) -> Iterator[str]:
    yield "| what | at most | measured | | by |"
    yield "|---|---|---|---|---|"
    for goal in found:
        value = "" if goal.value is None else f"{goal.value:.2f}{goal.unit}"
        bound = f"{goal.bound:.3g}{goal.unit}"
        yield f"| {goal.what} | {bound} | {value} | {goal.verdict} | {goal.command} |"


def _about(run: Record, soak: SoakRecord | None) -> Iterator[str]:
    machine, found = run.machine, run.surroundings
    yield (
        f"* {run.at}, AILB {run.version}, by `{run.command}`: medians of {run.repetitions}"
        f" repetitions{'' if run.complete else ', INCOMPLETE'}."
    )
    pinned = (
        "servers and Envoys on one, upstream and generator on another"
        if found.cpus
        else "nothing pinned"
    )
    yield (
        f"* {machine.cpus} CPUs ({machine.model}), {pinned}; Linux {machine.kernel},"
        f" Python {machine.python}."
    )
    quiet = run.foreign_cpu <= 0.1  # noqa: PLR2004 - a tenth of a CPU
    yield (
        f"* Other processes kept {run.foreign_cpu:.2f} CPUs busy meanwhile"
        f"{'' if quiet else ': every figure is worse than on a quiet machine'};"
        f" the yardstick took {run.yardstick_ms:.1f} ms."
    )
    failed = [_failure(row) for row in run.rows if row.errors]
    if failed:
        yield f"* Rows whose figures are worth nothing, and why: {'; '.join(failed)}."
    yield from _starts(run)
    for target, memory in found.memory_end.items():
        idle = found.memory_idle[target]
        parts = [
            f"{name} {before / _MB:.0f} MB before the load and {after / _MB:.0f} MB after"
            for name, before, after in (
                ("server", idle.server, memory.server),
                ("Envoy", idle.envoy, memory.envoy),
            )
            if after
        ]
        yield f"* Resident, {target}: {', '.join(parts)}."
    if soak is not None:
        yield from _soaked(soak)


def _failure(row: RowRecord) -> str:
    counts = ", ".join(f"{count:,} {what}" for what, count in row.errors.items())
    return f"{row.workload}, c={row.load}, {row.target} ({counts})"


def _starts(run: Record) -> Iterator[str]:
    found = run.surroundings
    if found.up_s:
        yield f"* `ailb up`, no data yet: {found.up_s:.2f} s to the first chat."
    if found.starts is not None:
        yield (
            f"* `ailb serve`, Postgres running: ready in {found.starts.ready_s:.2f} s"
            f" ({found.starts.first_s:.2f} s with an empty database),"
            f" {found.starts.resident / _MB:.0f} MB then."
        )


def _soaked(soak: SoakRecord) -> Iterator[str]:
    grown = ", ".join(f"{name} {slope:+.2f} MB" for name, slope in soak.slopes.items())
    yield (
        f"* Soak of {soak.minutes:g} minutes ({soak.at}), {sum(soak.done.values()):,} requests,"
        f" {sum(soak.unexpected.values())} of them not as expected: in 10 minutes, {grown}."
    )


def _tables(run: Record) -> Iterator[str]:
    for name, title in run.workloads.items():
        rows = [row for row in run.rows if row.workload == name]
        if not rows:
            continue
        known = [heading for heading in _FIGURES if any(heading in row.figures for row in rows)]
        compared = any(_compared(run, row) for row in rows)
        heads = ["c", "to", *(_FIGURES[heading][0] for heading in known)]
        yield f"\n**{name}**: {title}.\n"
        yield _line([*heads, "server CPU by the relay's"] if compared else heads)
        yield _line(["---"] * (len(heads) + compared))
        for row in rows:
            cells = [row.load, row.target, *(_figure(row, heading) for heading in known)]
            yield _line([*cells, _compared(run, row)] if compared else cells)


def _figure(row: RowRecord, heading: str) -> str:
    found = row.figures.get(heading)
    return "" if found is None else f"{found.median:,.{_FIGURES[heading][1]}f}"


def _compared(run: Record, row: RowRecord) -> str:
    found = run.compared((row.workload, row.load, row.target), _RATIO)
    return "" if found is None else f"{found:.2f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    raise SystemExit(main())
