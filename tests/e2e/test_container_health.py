"""The images' health checks, run here as Docker would."""

import json
import re
import subprocess

import openai
import pytest

from ailb_server.cli.health import check
from tests.support.stack import REPOSITORY, Stack, free_port


def edge_check(port: int, admin_port: int = 1) -> int:
    """The status of the Envoy image's check, with these ports in place of its own."""
    text = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (command,) = re.findall(r'CMD (\["bash".*\])', text)
    ports = {"8080": str(port), "9901": str(admin_port)}
    arguments = [re.sub("8080|9901", lambda m: ports[m[0]], a) for a in json.loads(command)]
    return subprocess.run(arguments, capture_output=True, timeout=30, check=False).returncode


def test_a_server_that_serves_is_healthy(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(stack.grpc) == 0
    assert "SERVING" in capsys.readouterr().out


def test_a_server_that_is_away_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    target = f"127.0.0.1:{free_port()}"
    assert check(target) == 1
    assert f"no answer from {target}" in capsys.readouterr().err


def test_an_edge_that_serves_is_healthy(stack: Stack) -> None:
    # An answer makes up for the failures that other tests asked this provider for.
    client = openai.OpenAI(base_url=f"{stack.rest}/v1", api_key="unused", max_retries=0)
    with client:
        client.chat.completions.create(model="demo", messages=[{"role": "user", "content": "hi"}])
    assert edge_check(int(stack.rest.rpartition(":")[2])) == 0


def test_an_edge_that_is_away_is_not() -> None:
    assert edge_check(free_port()) != 0
