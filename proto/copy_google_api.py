"""Copies the google/api protos that ours import from googleapis-common-protos to a directory."""

import importlib.util
import shutil
import sys
from pathlib import Path

NAMES = ("annotations.proto", "http.proto", "httpbody.proto")


def copy(target: Path) -> None:
    """Makes `target`/google/api with the files in it."""
    spec = importlib.util.find_spec("google.api")
    if spec is None or not spec.submodule_search_locations:
        sys.exit("the package googleapis-common-protos is not installed")
    source = Path(next(iter(spec.submodule_search_locations)))
    (target / "google/api").mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        shutil.copy(source / name, target / "google/api" / name)


if __name__ == "__main__":
    copy(Path(sys.argv[1]))
