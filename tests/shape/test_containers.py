"""Dockerfile and docker-compose.yml, as far as that can be told without Docker."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from ailb_server.local.envoy_program import find_binary, validate_command
from ailb_server.settings import Settings
from tests.shape.sources import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
STAGES = {
    match["name"]: match["body"]
    for match in re.finditer(
        r"^FROM (?P<body>\S+ AS (?P<name>\w+)\n.*?)(?=^FROM |\Z)",
        DOCKERFILE,
        re.MULTILINE | re.DOTALL,
    )
}
TEXT = (REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
# A tag with a version of at least two numbers.
PINNED = re.compile(r"[\w./-]+:v?\d+\.\d+[\w.-]*")


def test_the_stages() -> None:
    assert list(STAGES) == ["build", "envoy", "ailb"]


@pytest.mark.parametrize("name", STAGES)
def test_base_images_are_pinned(name: str) -> None:
    assert PINNED.fullmatch(STAGES[name].split()[0])


@pytest.mark.parametrize("name", ["envoy", "ailb"])
def test_images_run_without_root_and_tell_their_health(name: str) -> None:
    users = re.findall(r"^USER (\S+)$", STAGES[name], re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert "\nHEALTHCHECK " in STAGES[name]


def test_the_build_gets_what_it_copies_and_no_secret() -> None:
    lines = (REPOSITORY / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = [line.removeprefix("!") for line in lines if line.startswith("!")]
    assert lines[1] == "*"
    assert [a for a in allowed if a.startswith((".env", ".git", ".venv"))] == []
    copied = re.findall(r"^COPY (?!--)(.*) \S+$", STAGES["build"], re.MULTILINE)
    sources = [source for line in copied for source in line.split()]
    assert [s for s in sources if s.partition("/")[0] not in allowed] == []
    assert [s for s in sources if not (REPOSITORY / s).exists()] == []


def test_the_build_copies_what_the_wheel_is_made_of() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    copied = re.findall(r"^COPY (?!--)(\S+) \S+$", STAGES["build"], re.MULTILINE)
    for path in (*wheel["packages"], *wheel["force-include"]):
        assert any(Path(path).is_relative_to(top) for top in copied), path


def test_envoy_accepts_the_configuration_of_the_image(tmp_path: Path) -> None:
    (arguments,) = re.findall(r"ailb envoy-config /edge (.*)", STAGES["build"])
    given = arguments.replace('"${AILB_UPSTREAM}"', "ailb:50051").replace(
        "/etc/envoy", str(tmp_path)
    )
    variables = re.findall(r"(HOST|HTTP_PORT)=(\S+)", STAGES["build"])
    command = [sys.executable, "-m", "ailb_server", "envoy-config", str(tmp_path), *given.split()]
    environment = {"PYTHONPATH": str(REPOSITORY), **dict(variables)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    written = (tmp_path / "envoy.yaml").read_text(encoding="utf-8")
    assert "address: 0.0.0.0" in written
    assert "address: ailb" in written
    copied = re.findall(r"/edge/(\S+)", STAGES["envoy"])
    assert {path.name for path in tmp_path.iterdir()} == set(copied)
    check = validate_command(find_binary(), tmp_path / "envoy.yaml")
    assert subprocess.run(check, capture_output=True, check=False, timeout=60).returncode == 0


def test_the_services() -> None:
    extra = {"ollama", "prometheus", "grafana"}
    assert SERVICES.keys() == {"ailb", "envoy", "postgres", *extra}
    assert {name for name, s in SERVICES.items() if "profiles" in s} == extra


@pytest.mark.parametrize("name", SERVICES)
def test_each_is_pinned_or_built_and_comes_back(name: str) -> None:
    service = SERVICES[name]
    if "build" in service:
        assert service["build"]["target"] in STAGES
    else:
        assert PINNED.fullmatch(service["image"])
        assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_loopback(name: str) -> None:
    for port in SERVICES[name].get("ports", ()):
        assert str(port).startswith("${BIND_ADDRESS:-127.0.0.1}:")


def test_variables_are_documented() -> None:
    known = {name.upper() for name in Settings.model_fields}
    told = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    for name in re.findall(r"\$\{(\w+)", TEXT):
        assert name in known or f"`{name}`" in told, name


def test_the_servers_variables_exist() -> None:
    assert SERVICES["ailb"]["environment"].keys() <= {n.upper() for n in Settings.model_fields}


def test_dependencies_volumes_and_configs_exist() -> None:
    for service in SERVICES.values():
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        volumes = {str(volume).partition(":")[0] for volume in service.get("volumes", ())}
        assert volumes <= COMPOSE["volumes"].keys()
        assert {c["source"] for c in service.get("configs", ())} <= COMPOSE["configs"].keys()


def test_a_stop_leaves_time_to_drain() -> None:
    grace = int(SERVICES["ailb"]["stop_grace_period"].removesuffix("s"))
    assert grace > Settings.model_fields["drain_timeout_s"].default
    # Compose stops a service before those it depends on; Envoy must outlive the server's drain.
    assert "envoy" in SERVICES["ailb"]["depends_on"]
    assert "ailb" not in SERVICES["envoy"].get("depends_on", {})


def test_prometheus_asks_where_the_server_tells() -> None:
    path = REPOSITORY / COMPOSE["configs"]["prometheus"]["file"]
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    (found,) = config["scrape_configs"][0]["dns_sd_configs"]
    assert found["names"] == ["ailb"]
    assert str(found["port"]) == SERVICES["ailb"]["environment"]["METRICS_PORT"]
