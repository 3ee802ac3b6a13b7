"""The page's files, read once."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

PAGE = "index.html"
_STATIC = Path(__file__).resolve().parent / "static"
_TYPES: Mapping[str, str] = MappingProxyType(
    {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
        ".svg": "image/svg+xml",
    }
)


@dataclass(frozen=True, slots=True)
class File:
    """A file as it is served. `etag` is of its bytes, in quotes as the header has it."""

    content_type: str
    data: bytes
    etag: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files by name. What is not in it is not served, so no name leads elsewhere."""

    files: Mapping[str, File]

    @classmethod
    def load(cls, directory: Path = _STATIC) -> Self:
        """All files of a directory. Raises KeyError for a kind that no page of ours has."""
        return cls(MappingProxyType(dict(_files(sorted(directory.iterdir())))))

    def find(self, name: str) -> File | None:
        """The file of that name; the page itself for none."""
        return self.files.get(name or PAGE)


def _files(paths: Iterable[Path]) -> Iterable[tuple[str, File]]:
    for path in paths:
        data = path.read_bytes()
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        yield path.name, File(_TYPES[path.suffix], data, etag)
