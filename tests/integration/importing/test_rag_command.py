"""`ailb rag`, against a real server."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ailb_server.cli.main import app
from tests.support.command import Ailb
from tests.support.knowledge_server import KnowledgeServer
from tests.support.stack import eventually


@pytest.fixture
def server(migrated_dsn: str) -> Iterator[KnowledgeServer]:
    with KnowledgeServer(migrated_dsn) as running:
        yield running


@pytest.fixture
def files(tmp_path: Path) -> Path:
    root = tmp_path / "docs"
    for name, content in {
        "readme.txt": b"Zebras graze on the plains.",
        "guide/install.md": b"---\ntitle: The guide\n---\n# Install\n\nRun the installer.",
        "guide/page.html": b"<title>A page</title><nav>Menu</nav><p>Giraffes are tall.",
        "broken.pdf": b"%PDF-1.7 that is all",
        "code.py": b"print('not asked for')",
        "empty.txt": b"",
        ".hidden.txt": b"no",
        ".git/config.txt": b"no",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return root


def rag(server: KnowledgeServer, command: str, *arguments: str | Path) -> Result:
    words = ["rag", command, *map(str, arguments), "--target", server.target]
    return CliRunner().invoke(app, words)


def ids(server: KnowledgeServer) -> list[str]:
    lines = rag(server, "documents", "docs", "--json").stdout.splitlines()
    return [json.loads(line)["id"] for line in lines]


def test_a_directory_is_imported_and_found(server: KnowledgeServer, files: Path) -> None:
    result = rag(server, "import", files, "--collection", "docs", "--create")
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("3 imported, 0 unchanged, 1 failed, 1 empty; 3 passages in ")
    assert "ailb: broken.pdf: The document is no PDF that can be read" in result.stderr
    assert ids(server) == ["guide/install.md", "guide/page.html", "readme.txt"]
    found = rag(server, "search", "docs", "zebra", "--top-k", "1")
    assert "readme.txt" in found.stdout
    assert "    Zebras graze on the plains." in found.stdout
    titled = rag(server, "search", "docs", "giraffes", "--top-k", "1", "--json")
    assert json.loads(titled.stdout)["title"] == "A page"
    listed = rag(server, "collections")
    assert listed.stdout.split()[:3] == ["docs", "3", "documents"]


def test_a_second_run_sends_and_embeds_nothing(server: KnowledgeServer, files: Path) -> None:
    (files / "broken.pdf").unlink()
    rag(server, "import", files, "--collection", "docs", "--create")
    calls = server.embedder.calls
    again = rag(server, "import", files, "--collection", "docs")
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("0 imported, 3 unchanged, 0 failed, 1 empty; 0 passages")
    assert server.embedder.calls == calls
    (files / "readme.txt").write_text("Lions rest.")
    changed = rag(server, "import", files, "--collection", "docs", "--source-prefix", "https://x/")
    assert changed.stdout.startswith("1 imported, 2 unchanged")
    assert server.embedder.texts[-1] == "Lions rest."
    sources = rag(server, "documents", "docs", "--json").stdout
    assert '"source": "https://x/guide/page.html"' in sources


def test_a_pattern_chooses_files_of_any_kind(server: KnowledgeServer, files: Path) -> None:
    result = rag(server, "import", files, "--collection", "docs", "--create", "--pattern", "*.py")
    assert result.exit_code == 0, result.output
    assert ids(server) == ["code.py"]


def test_what_cannot_be_read_is_told_and_skipped(server: KnowledgeServer, files: Path) -> None:
    result = rag(
        server,
        "import",
        files / "readme.txt",
        files / "nothing",
        files / "guide" / "install.md",
        "--collection",
        "docs",
        "--create",
    )
    assert result.exit_code == 1
    assert "nothing: is not there" in result.stderr
    assert ids(server) == ["install.md", "readme.txt"]


def test_without_the_collection_it_says_so(server: KnowledgeServer, files: Path) -> None:
    result = rag(server, "import", files, "--collection", "docs")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "ailb: There is no collection `docs`.\n"


def test_delete_and_create(server: KnowledgeServer, files: Path) -> None:
    assert rag(server, "create", "docs", "--chunk-size", "500").exit_code == 0
    rag(server, "import", files / "readme.txt", "--collection", "docs")
    assert rag(server, "delete", "docs", "readme.txt").stdout == "deleted readme.txt\n"
    assert ids(server) == []
    assert rag(server, "delete", "docs").exit_code == 1
    assert rag(server, "delete", "docs", "--yes").stdout == "deleted docs\n"
    assert rag(server, "collections").stdout == ""


def test_reindex_tells_how_many(server: KnowledgeServer, files: Path) -> None:
    rag(server, "import", files / "readme.txt", "--collection", "docs", "--create")
    result = rag(server, "reindex", "docs")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("embedded ")


def test_interrupted_it_says_how_to_go_on(
    server: KnowledgeServer, files: Path, tmp_path: Path
) -> None:
    (files / "broken.pdf").unlink()
    server.loop.run(_close(server))
    arguments = ("rag", "import", str(files), "--collection", "docs", "--create")
    here = {"PYTHONPATH": os.pathsep.join(sys.path)}
    options = ("--target", server.target)
    with Ailb(*arguments, *options, directory=tmp_path, environment=here) as command:
        eventually(lambda: server.embedder.calls > 0)
        command.interrupt(signal.SIGINT)
        assert command.ends() == 130
        assert "goes on being imported" in command.output
    server.loop.run(_open(server))
    again = rag(server, "import", files, "--collection", "docs")
    assert again.exit_code == 0, again.output
    assert ids(server) == ["guide/install.md", "guide/page.html", "readme.txt"]


async def _close(server: KnowledgeServer) -> None:
    server.embedder.gate.clear()


async def _open(server: KnowledgeServer) -> None:
    server.embedder.gate.set()
