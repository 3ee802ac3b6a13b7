"""Which files an import means."""

from pathlib import Path

import pytest

from ailb_server.cli.rag_files import find_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("b.md", "a.txt", "c.bin", ".d.txt", "sub/e.PDF", "sub/.git/f.txt", "sub/g/h.htm"):
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path / "root"


class Complaints(list[tuple[str, str]]):
    def __call__(self, name: str, what: str) -> None:
        self.append((name, what))


def ids(*roots: Path, pattern: str | None = None) -> list[str]:
    return [file.id for file in find_files(roots, pattern, Complaints())]


def test_known_endings_below_a_directory_in_order_without_what_is_hidden(root: Path) -> None:
    assert ids(root) == ["a.txt", "b.md", "sub/e.PDF", "sub/g/h.htm"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [("*.bin", ["c.bin"]), ("g/*", ["sub/g/h.htm"]), ("*.txt", ["a.txt"]), ("nothing", [])],
)
def test_a_pattern(root: Path, pattern: str, found: list[str]) -> None:
    assert ids(root, pattern=pattern) == found


def test_a_file_that_is_named_is_taken_whatever_it_is(root: Path) -> None:
    (file,) = find_files([root / "c.bin"], None, Complaints())
    assert (file.id, file.content_type) == ("c.bin", "text/plain")


def test_faults_are_told(root: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("y")
    (tmp_path / "other" / "line\nend.txt").write_text("y")
    complaints = Complaints()
    found = find_files([root, tmp_path / "other", tmp_path / "none"], None, complaints)
    assert len(found) == 4
    assert [what.partition(" as ")[0] for _, what in complaints] == [
        "has the same id",
        "its path cannot be a document's id",
        "is not there",
    ]
