"""The page's files, read once."""

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Self

PAGE = "index.html"
# In the page's head; see main.js.
_ASKS = b'data-key="asked"'
_ASKS_NOT = b'data-key="none"'
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
    def load(cls, directory: Path = _STATIC, *, keyless: bool = False) -> Self:
        """All files of a directory. Raises KeyError for a kind that no page of ours has.

        `keyless`: nobody is asked for a key, so the page asks for none either.
        """
        return cls(MappingProxyType(dict(_files(sorted(directory.iterdir()), keyless=keyless))))

    def find(self, name: str) -> File | None:
        """The file of that name; the page itself for none."""
        return self.files.get(name or PAGE)


def _files(paths: Iterable[Path], *, keyless: bool) -> Iterable[tuple[str, File]]:
    for path in paths:
        data = path.read_bytes()
        if keyless and path.name == PAGE:
            data = data.replace(_ASKS, _ASKS_NOT, 1)
        etag = f'"{hashlib.sha256(data).hexdigest()[:32]}"'
        yield path.name, File(_TYPES[path.suffix], data, etag)
