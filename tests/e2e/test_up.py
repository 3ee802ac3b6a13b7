"""`ailb up`, as a newcomer runs it: one process that brings everything and takes it away."""

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.command import Ailb, children_of, name_of
from tests.support.stack import eventually, free_port

READY = "Try it:"


@pytest.fixture
def place(tmp_path: Path) -> dict[str, object]:
    """Free ports and a data directory with a space in its path."""
    return {
        "HTTP_PORT": free_port(),
        "GRPC_PORT": free_port(),
        "AILB_DATA_DIR": tmp_path / "my data",
    }


def ask(port: object, **fields: Any) -> Any:
    return ask_at(f"http://127.0.0.1:{port}/v1/chat/completions", **fields)


def ask_at(url: str, key: str | None = None, **fields: Any) -> Any:
    body = {"model": "demo", "messages": [{"role": "user", "content": "hello"}], **fields}
    headers = {"authorization": f"Bearer {key}"} if key else {}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        return json.load(response)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_and_leaves_nothing(
    tmp_path: Path, place: dict[str, object], number: signal.Signals
) -> None:
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        assert "demo (DEMO)" in ailb.output
        assert f"http://127.0.0.1:{place['HTTP_PORT']}/dashboard" in ailb.output
        answer = ask(place["HTTP_PORT"])
        assert answer["choices"][0]["message"]["content"].startswith("[demo]")
        parts = children_of(ailb.process.pid)
        assert {"envoy", "postgres"} <= {name_of(pid) for pid in parts}
        ailb.interrupt(number)
        assert ailb.ends() == 0
    assert "Stopped." in ailb.output
    assert [pid for pid in parts if name_of(pid) in {"envoy", "postgres"}] == []


def test_it_reads_dotenv_and_names_the_real_provider(
    tmp_path: Path, place: dict[str, object]
) -> None:
    (tmp_path / ".env").write_text("OPENAI_BASE_URL=http://127.0.0.1:9/v1\nOPENAI_MODELS=m-1\n")
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        assert "http://127.0.0.1:9/v1" in ailb.output
        assert '"m-1"' in ailb.output
        assert "DEMO" not in ailb.output


@pytest.mark.parametrize("host", ["::1", "::"])
def test_the_line_to_try_works_over_ipv6(
    tmp_path: Path, place: dict[str, object], host: str
) -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with Ailb("up", directory=tmp_path, environment={**place, "HOST": host}) as ailb:
        ailb.until(READY)
        ailb.until("curl")
        (url,) = re.findall(r"curl (\S+)", ailb.output)
        assert ask_at(url, key_of(ailb))["choices"]
        ailb.interrupt()
        assert ailb.ends() == 0


def key_of(ailb: Ailb) -> str | None:
    """The key that it showed, if it made one."""
    found = re.findall(r"AILB_API_KEY=(ailb_\w+)", ailb.output)
    return str(found[0]) if found else None


def test_keys_are_asked_for_if_that_is_said(tmp_path: Path, place: dict[str, object]) -> None:
    place["REQUIRE_API_KEY"] = "true"
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        ailb.until("curl")
        key = key_of(ailb)
        assert "$AILB_API_KEY" in ailb.output
        assert "No key is asked for" not in ailb.output
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(place["HTTP_PORT"])
        url = f"http://127.0.0.1:{place['HTTP_PORT']}/v1/chat/completions"
        assert ask_at(url, key)["choices"]
    # The key stays, and is not shown again.
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        assert key_of(ailb) is None
        assert ask_at(url, key)["choices"]


def test_on_loopback_it_says_that_it_is_open(tmp_path: Path, place: dict[str, object]) -> None:
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        assert "No key is asked for" in ailb.output


@pytest.mark.parametrize("command", ["up", "serve"])
def test_an_open_server_for_others_must_be_meant(tmp_path: Path, command: str) -> None:
    environment = {"HOST": "0.0.0.0", "REQUIRE_API_KEY": "false"}  # noqa: S104
    with Ailb(command, directory=tmp_path, environment=environment) as ailb:
        assert ailb.ends() == 2
    assert "ALLOW_UNAUTHENTICATED=true" in ailb.output


@pytest.mark.parametrize("name", ["HTTP_PORT", "GRPC_PORT", "METRICS_PORT"])
def test_a_taken_port_is_named(tmp_path: Path, place: dict[str, object], name: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place[name] = taken.getsockname()[1]
        with Ailb("up", directory=tmp_path, environment=place) as ailb:
            assert ailb.ends() == 1
    assert f"{name} {place[name]}" in ailb.output
    assert "Traceback" not in ailb.output
    data = place["AILB_DATA_DIR"]
    assert isinstance(data, Path)
    assert not data.exists()


@pytest.mark.parametrize("place_of_data", ["file", "file/below", "/proc/ailb"])
def test_a_data_directory_that_cannot_be_used_is_named(
    tmp_path: Path, place: dict[str, object], place_of_data: str
) -> None:
    (tmp_path / "file").touch()
    place["AILB_DATA_DIR"] = tmp_path / place_of_data
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        assert ailb.ends() == 1
    assert str(tmp_path / place_of_data) in ailb.output
    assert "Traceback" not in ailb.output


@pytest.mark.parametrize("part", ["envoy", "postgres"])
def test_a_part_that_dies_is_named(tmp_path: Path, place: dict[str, object], part: str) -> None:
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        parts = [pid for pid in children_of(ailb.process.pid) if name_of(pid) == part]
        os.kill(min(parts), signal.SIGKILL)
        assert ailb.ends() == 1
    assert f"{part.capitalize()} ended by itself" in ailb.output


def test_it_starts_again_after_it_was_killed(tmp_path: Path, place: dict[str, object]) -> None:
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        parts = children_of(ailb.process.pid)
        ailb.interrupt(signal.SIGKILL)
        ailb.ends()
    # Envoy goes with its parent; Postgres stays for whoever comes next.
    eventually(lambda: "envoy" not in {name_of(pid) for pid in parts})
    with Ailb("up", directory=tmp_path, environment=place) as ailb:
        ailb.until(READY)
        assert ask(place["HTTP_PORT"])["choices"]
        ailb.interrupt()
        assert ailb.ends() == 0
    assert [pid for pid in parts if name_of(pid) == "postgres"] == []


def test_two_share_one_directory(tmp_path: Path, place: dict[str, object]) -> None:
    other = {**place, "HTTP_PORT": free_port(), "GRPC_PORT": free_port()}
    with (
        Ailb("up", directory=tmp_path, environment=place) as first,
        Ailb("up", directory=tmp_path, environment=other) as second,
    ):
        first.until(READY)
        second.until(READY)
        first.interrupt()
        assert first.ends() == 0
        assert ask(other["HTTP_PORT"])["choices"]
        second.interrupt()
        assert second.ends() == 0


@pytest.mark.parametrize(
    ("drain_timeout_s", "end"), [(30, b"data: [DONE]"), (0.2, b'"code": "shutting_down"')]
)
def test_running_streams_drain_or_are_told(
    tmp_path: Path, place: dict[str, object], drain_timeout_s: float, end: bytes
) -> None:
    environment = {**place, "DRAIN_TIMEOUT_S": drain_timeout_s}
    with Ailb("up", directory=tmp_path, environment=environment) as ailb:
        ailb.until(READY)
        body = {
            "model": "demo",
            "stream": True,
            "messages": [{"role": "user", "content": "hello"}],
            "demo": {"words": 40, "chunk_ms": 50},
        }
        url = f"http://127.0.0.1:{place['HTTP_PORT']}/v1/chat/completions"
        request = urllib.request.Request(url, json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            assert response.readline().startswith(b"data: ")
            ailb.interrupt()
            ailb.until("Stopping")
            rest = response.read()
        assert end in rest.split(b"\n\n")[-2]
        assert ailb.ends() == 0


def test_bad_values_stop_the_start_with_a_line_each(tmp_path: Path) -> None:
    bad = {"HTTP_PORT": "eighty", "MEMORY_BACKEND": "chromadb", "ROUTING_STRATEGY": "best"}
    with Ailb("up", directory=tmp_path, environment=bad) as ailb:
        assert ailb.ends() == 2
    lines = ailb.output.strip().splitlines()
    assert {line.partition(":")[0] for line in lines} == set(bad)
    assert "pgvector" in ailb.output


def test_serve_needs_a_database_and_a_provider(tmp_path: Path) -> None:
    with Ailb("serve", directory=tmp_path) as ailb:
        assert ailb.ends() == 2
    assert "DATABASE_URL" in ailb.output
    url = {"DATABASE_URL": "postgresql://me:secret@127.0.0.1:9/x"}
    with Ailb("serve", directory=tmp_path, environment=url) as ailb:
        assert ailb.ends() == 2
    assert "OPENAI_API_KEY" in ailb.output


def test_serve_gives_up_on_a_store_that_stays_away(tmp_path: Path) -> None:
    away = {
        "DATABASE_URL": f"postgresql://me:secret@127.0.0.1:{free_port()}/x",
        "DATABASE_CONNECT_TIMEOUT_S": 1,
        "DEMO_PROVIDER": "true",
    }
    with Ailb("serve", directory=tmp_path, environment=away) as ailb:
        assert ailb.ends() == 1
    assert "127.0.0.1" in ailb.output
    assert "secret" not in ailb.output
    assert "Traceback" not in ailb.output


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_serve_can_be_ended_while_it_starts(tmp_path: Path, number: signal.Signals) -> None:
    """Its own giving up would come later, and with another status."""
    away = {
        "DATABASE_URL": f"postgresql://me:secret@127.0.0.1:{free_port()}/x",
        "DATABASE_CONNECT_TIMEOUT_S": 30,
        "DEMO_PROVIDER": "true",
    }
    with Ailb("serve", directory=tmp_path, environment=away) as ailb:
        ailb.until("is not reachable yet")
        ailb.interrupt(number)
        assert ailb.ends() == 0
    assert "Traceback" not in ailb.output
    assert "was not reachable" not in ailb.output


def test_serve_answers_on_grpc_alone_and_asks_for_keys(tmp_path: Path, postgres_dsn: str) -> None:
    port = free_port()
    environment = {"DATABASE_URL": postgres_dsn, "DEMO_PROVIDER": "true", "GRPC_PORT": port}
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        ailb.until("serves on")
        ailb.until("ailb keys bootstrap")
        with Ailb("keys", "bootstrap", directory=tmp_path, environment=environment) as made:
            assert made.ends() == 0
        key = {"AILB_API_KEY": made.output.splitlines()[-1]}
        chat = ("chat", "hello", "--target", f"127.0.0.1:{port}")
        with Ailb(*chat, directory=tmp_path, environment=key) as client:
            assert client.ends() == 0
        assert "[demo]" in client.output
        with Ailb(*chat, directory=tmp_path) as client:
            assert client.ends() == 1
        assert "API key is needed" in client.output
        ailb.interrupt()
        assert ailb.ends() == 0
    json_lines = [json.loads(line) for line in ailb.output.splitlines()]
    assert json_lines[-1]["message"] == "stopped"
    with Ailb("serve", directory=tmp_path, environment=environment) as ailb:
        ailb.until("serves on")
        ailb.interrupt()
        assert ailb.ends() == 0
    assert "bootstrap" not in ailb.output


def test_migrate_says_what_it_did(tmp_path: Path, postgres_dsn: str) -> None:
    environment = {"DATABASE_URL": postgres_dsn}
    for expected in ("applied 0001", "up to date"):
        with Ailb("migrate", directory=tmp_path, environment=environment) as ailb:
            assert ailb.ends() == 0
        assert expected in ailb.output
