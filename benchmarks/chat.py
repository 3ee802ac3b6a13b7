"""`python -m benchmarks.chat`: what one chat costs and how long it takes, through AILB and without.

Prints a table and writes JSON to benchmarks/results/. See benchmarks/README.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report
from benchmarks.plan import TARGETS, USUAL_TARGETS, Cell, Plan
from benchmarks.programs import RunError
from benchmarks.record import record, write
from benchmarks.run import run
from benchmarks.stopping import StoppedError, stoppable
from benchmarks.workloads import workloads

_RESULTS = Path(__file__).parent / "results"
_USUAL_S = 180.0
_QUICK_S = 45.0
_FULL_S = 1200.0
_DEFAULT = "small,stream"
_INTERRUPTED = 130
_LITELLM = "AILB_BENCHMARK_LITELLM_PYTHON"


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if a request failed or the run could not go on; 130 after a signal."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser().parse_args(given)
    plan = planned(options)
    try:
        with stoppable():
            result = run(plan, _progress, options.litellm_python)
    except StoppedError:
        print("\nStopped; everything that was started has ended.", file=sys.stderr)
        return _INTERRUPTED
    except RunError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    print(report.text(plan, result))
    found = record(plan, result, " ".join(["python -m benchmarks.chat", *_shown(given)]))
    print(f"\nWritten: {write(options.out, found, result.samples)}")
    return 1 if report.errors(result) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chat", description=__doc__)
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--quick", action="store_true", help=f"{_QUICK_S:g} s, coarse figures")
    length.add_argument(
        "--full", action="store_true", help=f"{_FULL_S:g} s: all workloads and targets"
    )
    parser.add_argument("--seconds", type=float, help=f"for all of it (default {_USUAL_S:g})")
    parser.add_argument("--repetitions", type=int, help="of every cell (default 5; quick, full: 3)")
    parser.add_argument(
        "--workloads", help=f"of {','.join(workloads())} (default {_DEFAULT}; full: all)"
    )
    parser.add_argument(
        "--targets",
        help=f"of {','.join(TARGETS)} (default {','.join(USUAL_TARGETS)}; full: all)",
    )
    parser.add_argument("--concurrency", help="only these of the workloads' own, such as 1,16")
    parser.add_argument(
        "--litellm-python",
        default=os.environ.get(_LITELLM),
        help=f"a Python that imports litellm[proxy], to measure it too (default: ${_LITELLM})",
    )
    parser.add_argument("--out", type=Path, default=_RESULTS, help="directory for the JSON")
    return parser


def planned(options: argparse.Namespace) -> Plan:
    """The plan that the options ask for; ends the program if they ask for what there is not."""
    known = workloads()
    usual = ",".join(known) if options.full else _DEFAULT
    names = _listed("--workloads", options.workloads or usual, tuple(known))
    every = TARGETS if options.full else USUAL_TARGETS
    targets = _listed("--targets", options.targets or ",".join(every), TARGETS)
    if options.litellm_python is None:
        targets = [target for target in targets if target != "LiteLLM"]
    elif "LiteLLM" not in targets:
        targets.append("LiteLLM")
    short = options.quick or options.full
    repetitions = options.repetitions or (3 if short else 5)
    seconds = _QUICK_S if options.quick else _FULL_S if options.full else _USUAL_S
    levels = [int(level) for level in (options.concurrency or "").split(",") if level]
    return Plan(
        tuple(known[name] for name in names),
        repetitions,
        options.seconds or seconds,
        tuple(target for target in TARGETS if target in targets),
        concurrencies=tuple(levels),
        open_loop=options.full,
        starts=not options.quick,
    )


def _listed(option: str, text: str, known: Sequence[str]) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in known]
    if unknown:
        _parser().error(f"{option}: unknown: {', '.join(unknown)}")
    return names


def _shown(arguments: Sequence[str]) -> list[str]:
    """Without what is of this machine only."""
    kept, skip = [], False
    for argument in arguments:
        if not skip and not argument.startswith(("--out", "--litellm-python")):
            kept.append(argument)
        skip = argument in {"--out", "--litellm-python"}
    return kept


def _progress(number: int, count: int, cell: Cell) -> None:
    where = f"{cell.workload.name} c={cell.load} {cell.target}"
    if sys.stderr.isatty():
        end = "\n" if number == count else ""
        print(f"\r{number}/{count} {where:<40}", end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
