"""What a soak found, as it is written to JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pydantic import TypeAdapter

from benchmarks.figures import slope

_MB = 1024 * 1024
_SLOPE_S = 600.0


@dataclass(frozen=True, slots=True)
class Resident:
    """Bytes by process, so many seconds after the load began."""

    at_s: float
    bytes: dict[str, int]


@dataclass(frozen=True, slots=True)
class SoakRecord:
    """`slopes`: MB in 10 minutes by process, by least squares over what is after `warm_s`.

    `done` and `unexpected` count requests by their kind.
    """

    at: str
    minutes: float
    rate: float
    warm_s: float
    slopes: dict[str, float]
    done: dict[str, int]
    unexpected: dict[str, int]
    resident: list[Resident]


def slopes(resident: Sequence[Resident], warm_s: float) -> dict[str, float]:
    """See `SoakRecord`."""
    kept = [one for one in resident if one.at_s >= warm_s]
    names = kept[0].bytes if kept else {}
    return {
        name: slope([(one.at_s / _SLOPE_S, one.bytes[name] / _MB) for one in kept])
        for name in names
    }


def write(path: Path, found: SoakRecord) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(found), indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> SoakRecord:
    """Raises OSError, and ValueError if it is not one."""
    return TypeAdapter(SoakRecord).validate_json(path.read_text(encoding="utf-8"))
