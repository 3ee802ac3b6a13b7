"""What the README shows is run, word for word but for the ports, and must print what it says."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.stack import REPOSITORY, Stack

# A block that runs, and the block after it, if that shows what is printed.
BLOCK = re.compile(
    r"^```(sh|python)\n(.*?)^```\n(?:\n```text\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL
)
TIMEOUT_S = 60


@dataclass(frozen=True)
class Example:
    """One block. `prints`: its lines, where `…` stands for anything."""

    language: str
    code: str
    prints: str


def title(example: Example) -> str:
    """Its first line that is not the same in every other."""
    lines = [line for line in example.code.splitlines() if line and line != "import asyncio"]
    return lines[0][:40]


README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
EXAMPLES = [Example(*found) for found in BLOCK.findall(README)]


def test_the_readme_shows_every_face() -> None:
    code = "\n".join(example.code for example in EXAMPLES)
    for face in ("curl", '"stream": true', "OpenAI(", "ailb_client", "ServiceStub", "ailb chat"):
        assert face in code


@pytest.mark.parametrize("example", EXAMPLES, ids=title)
def test_it_runs_and_prints_what_it_says(stack: Stack, tmp_path: Path, example: Example) -> None:
    rest = stack.rest.removeprefix("http://")
    code = example.code.replace("localhost:8080", rest).replace("localhost:50051", stack.grpc)
    assert code != example.code, "it does not call AILB"
    done = run(example.language, code, tmp_path)
    assert done.returncode == 0, done.stderr
    rest_of_output = done.stdout
    for line in example.prints.splitlines():
        for part in filter(None, line.split("…")):
            assert part in rest_of_output, f"{part!r} is not in {done.stdout}"
            rest_of_output = rest_of_output.partition(part)[2]


def run(language: str, code: str, directory: Path) -> subprocess.CompletedProcess[str]:
    """As in a terminal where the virtual environment is active."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    command = ["bash", "-euo", "pipefail", "-c", code]
    return subprocess.run(
        command if language == "sh" else [sys.executable, "-c", code],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
