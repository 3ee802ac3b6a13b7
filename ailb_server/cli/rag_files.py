"""Which files `ailb rag import` means, and the ids that they get."""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ailb_server.knowledge.extraction.content_types import format_of_name

_MAX_ID = 512
# What is no file of a known kind was asked for by name: then it is text.
_TEXT = "text/plain"


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file, its document's id, and its content type."""

    path: Path
    id: str
    content_type: str


def find_files(
    roots: Sequence[Path], pattern: str | None, complain: Callable[[str, str], None]
) -> list[FoundFile]:
    """Files of known endings below the roots, or those that `pattern` fits; hidden ones are left
    out. An id is the path below the root, with `/`. `complain` is told a path and what is wrong.
    """
    found: dict[str, FoundFile] = {}
    for root in roots:
        for path, id_ in _below(root, complain):
            named = root == path
            if not named and not _wanted(id_, pattern):
                continue
            if not id_.isprintable() or len(id_) > _MAX_ID:
                complain(ascii(str(path)), "its path cannot be a document's id")
            elif id_ in found:
                complain(str(path), f"has the same id as {found[id_].path}")
            else:
                kind = format_of_name(id_)
                found[id_] = FoundFile(path, id_, kind.value if kind else _TEXT)
    return list(found.values())


def _below(root: Path, complain: Callable[[str, str], None]) -> Iterator[tuple[Path, str]]:
    if root.is_file():
        yield root, root.name
        return
    if not root.is_dir():
        complain(str(root), "is not there")
        return

    def unreadable(error: OSError) -> None:
        complain(str(error.filename), error.strerror or "cannot be read")

    for directory, directories, names in os.walk(root, onerror=unreadable):
        directories[:] = sorted(name for name in directories if not name.startswith("."))
        for name in sorted(names):
            path = Path(directory, name)
            if not name.startswith(".") and path.is_file():
                yield path, path.relative_to(root).as_posix()


def _wanted(id_: str, pattern: str | None) -> bool:
    if pattern is None:
        return format_of_name(id_) is not None
    return PurePosixPath(id_).match(pattern)
