"""`python -m benchmarks.check`: whether a chat costs more than was promised.

One fixed scenario, 30 s: the small chat by a key with limits and a budget, 16 connections; the
server's CPU as a multiple of the relay's in the same run, compared with benchmarks/baseline.json.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks import report
from benchmarks.comparison import comparisons
from benchmarks.figures import Typical
from benchmarks.plan import Plan, Target
from benchmarks.programs import RunError
from benchmarks.run import Result, run
from benchmarks.stopping import StoppedError, stoppable
from benchmarks.workloads import workloads

_BASELINE = Path(__file__).parent / "baseline.json"
_SECONDS = 30.0
_REPETITIONS = 7
_INTERRUPTED = 130
# Other work on the machine, and other CPUs than the baseline's, move the ratio by a fifth.
_BOUND = 1.35


@dataclass(frozen=True, slots=True)
class Baseline:
    """The promise: `ratio` is the median, which may become `bound` times as high."""

    scenario: str
    at: str
    ratio: float
    bound: float = _BOUND

    @property
    def limit(self) -> float:
        """The highest ratio that passes."""
        return self.ratio * self.bound


def main(arguments: Sequence[str] | None = None) -> int:
    """0; 1 if it is worse, or could not be measured; 130 after a signal."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check", description=__doc__)
    parser.add_argument("--write", action="store_true", help="promise what is measured now")
    options = parser.parse_args(arguments)
    try:
        with stoppable():
            result = run(_plan(), lambda _number, _count, _cell: None)
    except StoppedError:
        return _INTERRUPTED
    except RunError as error:
        print(f"bench-check: {error}", file=sys.stderr)
        return 1
    ratio = _ratio(result)
    if report.errors(result) or ratio is None:
        print(f"bench-check: {report.errors(result)} requests failed: nothing is measured")
        return 1
    if options.write:
        _BASELINE.write_text(json.dumps(asdict(_promised(ratio)), indent=1) + "\n")
        print(f"bench-check: promised: {ratio.median:.2f} times the relay")
        return 0
    passed, line = verdict(ratio, _read())
    print(line)
    return 0 if passed else 1


def verdict(ratio: Typical, baseline: Baseline) -> tuple[bool, str]:
    """Whether it passes, and a line that says so."""
    passed = ratio.median <= baseline.limit
    word = "ok" if passed else "WORSE: a small chat costs more than was promised"
    return passed, (
        f"bench-check: {word}. Server CPU {ratio.median:.2f} times the relay's"
        f" ({ratio.low:.2f} to {ratio.high:.2f}); promised {baseline.ratio:.2f},"
        f" at most {baseline.limit:.2f}."
    )


def _plan() -> Plan:
    targets: tuple[Target, ...] = ("AILB keyed", "relay")
    small = (workloads()["small"],)
    return Plan(small, _REPETITIONS, _SECONDS, targets, concurrencies=(16,), open_loop=False)


def _ratio(result: Result) -> Typical | None:
    found = [each for each in comparisons(result.samples) if each.kind == "server CPU / relay"]
    return found[0].value if found else None


def _promised(ratio: Typical) -> Baseline:
    scenario = "small, 16 connections, AILB keyed: server CPU as a multiple of the relay's"
    return Baseline(scenario, f"{datetime.now(UTC):%Y-%m-%d}", round(ratio.median, 3))


def _read() -> Baseline:
    return TypeAdapter(Baseline).validate_json(_BASELINE.read_text(encoding="utf-8"))


if __name__ == "__main__":
    raise SystemExit(main())
