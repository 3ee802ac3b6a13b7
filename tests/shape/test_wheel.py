"""The wheel has all that a server, a client and `ailb up` need, and finds it."""

import json
import os
import subprocess
import sys
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from tests.shape.sources import REPOSITORY

LOOK = """
import ailb_client, importlib.metadata, json
from ailb.openai.v1 import openai_service_pb2_grpc
from ailb.v1 import chat_pb2
from ailb_server.local.envoy_config import DATA_FILES
from ailb_server.local.resources import data_dir
from ailb_server.app import VERSION
print(json.dumps({
    "places": [m.__file__ for m in (ailb_client, chat_pb2, openai_service_pb2_grpc)],
    "envoy": [str(data_dir("envoy") / name) for name in ("envoy.yaml", *DATA_FILES)],
    "migrations": [str(path) for path in data_dir("migrations").glob("*.sql")],
    "version": VERSION,
}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True, timeout=60)
    (built,) = target.iterdir()
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def metadata(wheel: Path, name: str) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (path,) = [n for n in archive.namelist() if n.endswith(f".dist-info/{name}")]
        return Parser().parsestr(archive.read(path).decode())


@pytest.mark.parametrize("package", ["ailb_server", "ailb_client"])
def test_it_has_every_module(names: set[str], package: str) -> None:
    files = (REPOSITORY / package).rglob("*.py*")
    wanted = {p.relative_to(REPOSITORY).as_posix() for p in files if p.suffix in {".py", ".typed"}}
    assert wanted <= names


def test_it_has_the_stubs_of_every_proto(names: set[str]) -> None:
    packages = (REPOSITORY / "proto" / name for name in ("ailb", "marchproxy"))
    protos = [proto for package in packages for proto in package.rglob("*.proto")]
    stems = [p.relative_to(REPOSITORY / "proto").with_suffix("").as_posix() for p in protos]
    assert {f"{s}{end}" for s in stems for end in ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")} <= names


@pytest.mark.parametrize("directory", ["envoy", "migrations"])
def test_it_has_the_data(names: set[str], directory: str) -> None:
    wanted = {f"ailb_server/_data/{directory}/{p.name}" for p in (REPOSITORY / directory).iterdir()}
    assert wanted
    assert {n for n in names if n.startswith(f"ailb_server/_data/{directory}/")} == wanted


def test_it_has_the_dashboard(names: set[str]) -> None:
    static = REPOSITORY / "ailb_server" / "dashboard" / "static"
    wanted = {path.relative_to(REPOSITORY).as_posix() for path in static.iterdir()}
    assert "ailb_server/dashboard/static/index.html" in wanted
    assert wanted <= names


def test_it_has_nothing_else(names: set[str]) -> None:
    tops = {name.partition("/")[0].partition("-")[0] for name in names}
    assert tops == {"ailb", "ailb_client", "ailb_server", "marchproxy"}
    assert [n for n in names if "__pycache__" in n or n.endswith((".env", ".pyc"))] == []


def test_it_names_its_licence_and_its_command(wheel: Path, names: set[str]) -> None:
    assert metadata(wheel, "METADATA")["License-Expression"] == "AGPL-3.0-or-later"
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert any(name.endswith(".dist-info/entry_points.txt") for name in names)


def test_unpacked_it_finds_its_own_files(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-P", "-c", LOOK],
        cwd=tmp_path,
        # Before the checkout, which is installed for development.
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    paths = [*found["places"], *found["envoy"], *found["migrations"]]
    assert [p for p in paths if not Path(p).is_relative_to(tmp_path)] == []
    assert [p for p in paths if not Path(p).is_file()] == []
    assert found["migrations"]
    assert found["version"] == metadata(wheel, "METADATA")["Version"]
