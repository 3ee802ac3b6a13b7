"""Why Envoy cannot be started, told in a line and not by a traceback; and its one time limit."""

from pathlib import Path

import pytest
import yaml

from ailb_server.local import envoy
from ailb_server.local.envoy import EmbeddedEnvoy, EnvoyError
from ailb_server.settings import Settings
from tests.support.stack import REPOSITORY, free_port


def embedded(run_dir: Path) -> EmbeddedEnvoy:
    return EmbeddedEnvoy(
        host="127.0.0.1", port=free_port(), upstream_ports=(free_port(),), run_dir=run_dir
    )


def program(path: Path, mode: int, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program in Envoy's place."""
    path.write_text("#!/bin/sh\nexit 0\n")
    path.chmod(mode)
    monkeypatch.setattr(envoy, "find_binary", lambda: path)
    return path


async def test_a_program_that_may_not_be_executed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = program(tmp_path / "envoy", 0o644, monkeypatch)
    for begin in (embedded(tmp_path / "run").start, embedded(tmp_path / "run").validate):
        with pytest.raises(EnvoyError, match="may not be executed by this user") as raised:
            await begin()
        assert str(path) in str(raised.value)
        assert "Traceback" not in str(raised.value)


async def test_a_directory_that_cannot_be_made_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "envoy", 0o755, monkeypatch)
    with pytest.raises(EnvoyError, match="cannot be started"):
        await embedded(tmp_path / "envoy" / "run").start()


async def test_a_program_that_ends_at_once_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "envoy", 0o755, monkeypatch)
    with pytest.raises(EnvoyError, match="ended at its start"):
        await embedded(tmp_path / "run").start()


def test_the_documents_tell_envoys_own_time_limit() -> None:
    config = yaml.safe_load((REPOSITORY / "envoy" / "envoy.yaml").read_text(encoding="utf-8"))
    (listener,) = config["static_resources"]["listeners"]
    manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
    limit = manager["stream_idle_timeout"].replace("s", " s")
    told = Settings.model_fields["first_token_timeout_s"].description or ""
    assert f"Envoy waits for either {limit} at most" in told
    text = (REPOSITORY / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert f"nothing has come for {limit}**" in text
