"""Makes everything that is generated again, elsewhere, and names what differs from the committed.

`python -m tests.shape.freshness`, after `make .deps`; `make generate` and `make docs` mend it.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from docs.generator import documents

ROOT = Path(__file__).resolve().parents[2]

GENERATED = ("proto/gen", "ailb_client/_gen")
DESCRIPTORS = "envoy/ailb.binpb"
# What `buf` reads, and what the formatter of the generated client does.
_SOURCES = ("proto", ".deps", "buf.yaml", "buf.gen.yaml", "pyproject.toml")
_BUILD = ("build", "-o", DESCRIPTORS, "--as-file-descriptor-set", "--exclude-source-info")
_TIMEOUT_S = 120


def main() -> int:
    """1 if something is stale, with a line for each such file."""
    stale = [*stale_documents(), *stale_code()]
    for name in stale:
        sys.stdout.write(f"stale: {name}\n")
    sys.stdout.write("Run `make generate docs`.\n" if stale else "All generated files are fresh.\n")
    return 1 if stale else 0


def stale_documents() -> Iterator[str]:
    """Documents with a region that is not as the code says."""
    for path, text in documents().items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            yield path.relative_to(ROOT).as_posix()


def stale_code() -> Iterator[str]:
    """Files that `buf` would write differently, would not write, or that are missing."""
    with tempfile.TemporaryDirectory(prefix="ailb-fresh-") as directory:
        copy = Path(directory)
        _copy_sources(copy)
        (copy / DESCRIPTORS).parent.mkdir()
        _buf(copy, "generate")
        _buf(copy, *_BUILD)
        names = {name for top in GENERATED for root in (ROOT, copy) for name in _files(root, top)}
        for name in sorted(names | {DESCRIPTORS}):
            if _content(ROOT / name) != _content(copy / name):
                yield name


def _copy_sources(target: Path) -> None:
    for name in _SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, target / name, ignore=shutil.ignore_patterns("gen", "__pycache__")
            )
        else:
            shutil.copy(source, target / name)


def _buf(directory: Path, *arguments: str) -> None:
    # The plugins are programs beside this Python.
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["buf", *arguments],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    if done.returncode:
        sys.exit(f"buf {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def _files(root: Path, top: str) -> Iterator[str]:
    for path in (root / top).rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            yield path.relative_to(root).as_posix()


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
