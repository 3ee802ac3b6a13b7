"""`python -m benchmarks.chat`: what one chat costs and how long it takes, through AILB and without.

Prints a table and writes JSON to benchmarks/results/. See benchmarks/README.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.plan import Cell, Plan, workloads
from benchmarks.programs import RunError
from benchmarks.run import run
from benchmarks.stopping import StoppedError, stoppable

_RESULTS = Path(__file__).parent / "results"
_FULL_S = 90.0
_QUICK_S = 22.0
_DEFAULT = "small,stream"
_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if a request failed or the run could not go on; 130 after a signal."""
    options = _parser().parse_args(arguments)
    plan = _plan(options)
    try:
        with stoppable():
            result = run(plan, _progress)
    except StoppedError:
        print("\nStopped; everything that was started has ended.", file=sys.stderr)
        return _INTERRUPTED
    except RunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(report.text(plan, result))
    print(f"\nWritten: {report.write(options.out, report.document(plan, result))}")
    return 1 if report.errors(result) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{_QUICK_S:g} s, coarse figures")
    parser.add_argument("--seconds", type=float, help=f"time for all of it (default {_FULL_S:g})")
    parser.add_argument("--repetitions", type=int, help="of every cell (default 5, 3 if quick)")
    parser.add_argument(
        "--workloads", default=_DEFAULT, help=f"of {','.join(workloads())} (default {_DEFAULT})"
    )
    parser.add_argument("--out", type=Path, default=_RESULTS, help="directory for the JSON")
    return parser


def _plan(options: argparse.Namespace) -> Plan:
    known = workloads()
    names = [name.strip() for name in options.workloads.split(",")]
    unknown = [name for name in names if name not in known]
    repetitions = options.repetitions or (3 if options.quick else 5)
    if unknown or repetitions < 1:
        _parser().error(
            f"unknown: {', '.join(unknown)}" if unknown else "--repetitions: at least 1"
        )
    seconds = options.seconds or (_QUICK_S if options.quick else _FULL_S)
    return Plan(tuple(known[name] for name in names), repetitions, seconds)


def _progress(number: int, count: int, cell: Cell) -> None:
    where = f"{cell.workload.name} c={cell.concurrency} {cell.target}"
    if sys.stderr.isatty():
        end = "\n" if number == count else ""
        print(f"\r{number}/{count} {where:<40}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
