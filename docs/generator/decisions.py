"""The list of decisions."""

from collections.abc import Mapping
from pathlib import Path


def regions(directory: Path) -> Mapping[str, str]:
    """One line for each decision, from its title."""
    files = sorted(directory.glob("[0-9]*.md"))
    return {"index": "\n".join(_line(path) for path in files)}


def _line(path: Path) -> str:
    title = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# ")
    number, _, name = title.partition(": ")
    return f"* [{number}]({path.name}): {name}"
