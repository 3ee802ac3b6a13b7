"""The Python files that the rules are about, parsed once."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]

_WRITTEN_BY_HAND = ("ailb_server", "ailb_client", "benchmarks", "docs", "proto", "tests")
_GENERATED = ("ailb_client/_gen", "proto/gen")


@dataclass(frozen=True)
class Source:
    """One file; `name` is its path in the repository."""

    name: str
    text: str
    tree: ast.Module

    @property
    def module(self) -> str:
        """Its dotted name."""
        return self.name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def nodes(self) -> Iterator[ast.AST]:
        """All of its syntax."""
        return ast.walk(self.tree)

    def at(self, node: ast.stmt | ast.expr | ast.ExceptHandler) -> str:
        """`file:line`, for messages."""
        return f"{self.name}:{node.lineno}"


@cache
def sources(*tops: str) -> tuple[Source, ...]:
    """The files below these directories, or all that are written by hand."""
    paths = (
        path
        for top in tops or _WRITTEN_BY_HAND
        for path in sorted((REPOSITORY / top).rglob("*.py"))
    )
    return tuple(
        _read(path)
        for path in paths
        if not path.relative_to(REPOSITORY).as_posix().startswith(_GENERATED)
    )


def _read(path: Path) -> Source:
    text = path.read_text(encoding="utf-8")
    return Source(path.relative_to(REPOSITORY).as_posix(), text, ast.parse(text))
