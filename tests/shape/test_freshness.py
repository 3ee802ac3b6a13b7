"""The check that generated code is fresh sees what it is there to see."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.shape import freshness
from tests.shape.sources import REPOSITORY

CHANGED = "proto/gen/ailb/v1/model_pb2.pyi"
REMOVED = "ailb_client/_gen/ailb/v1/__init__.py"
ADDED = "proto/gen/ailb/v1/forgotten_pb2.py"


def test_it_names_what_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("proto", "ailb_client", "envoy"):
        shutil.copytree(REPOSITORY / name, tmp_path / name)
    for name in ("buf.yaml", "buf.gen.yaml", "pyproject.toml"):
        shutil.copy(REPOSITORY / name, tmp_path)
    copier = REPOSITORY / "proto" / "copy_google_api.py"
    subprocess.run([sys.executable, str(copier), str(tmp_path / ".deps")], check=True)
    monkeypatch.setattr(freshness, "ROOT", tmp_path)
    (tmp_path / CHANGED).write_text("stale")
    (tmp_path / REMOVED).unlink()
    (tmp_path / ADDED).touch()
    assert set(freshness.stale_code()) == {CHANGED, REMOVED, ADDED}


def test_the_documents_are_fresh() -> None:
    assert list(freshness.stale_documents()) == []
