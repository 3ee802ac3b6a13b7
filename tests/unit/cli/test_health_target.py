"""Whom `ailb health` asks."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from ailb_server.cli import health
from ailb_server.cli.main import app
from ailb_server.telemetry import logs
from ailb_server.tls.dialling import CallerFiles


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("0.0.0.0", "127.0.0.1:50099"),  # noqa: S104
        ("::", "[::1]:50099"),
        ("::1", "[::1]:50099"),
        ("192.0.2.7", "192.0.2.7:50099"),
    ],
)
def test_it_asks_where_the_server_listens(
    host: str, target: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []

    def check(target: str, tls: CallerFiles | None = None) -> int:
        assert tls is None
        asked.append(target)
        return 0

    monkeypatch.setattr(health, "check", check)
    monkeypatch.setattr(logs, "configure", lambda *_, **__: None)
    monkeypatch.chdir(tmp_path)
    environment = {"HOST": host, "GRPC_PORT": "50099"}
    assert CliRunner().invoke(app, ["health"], env=environment).exit_code == 0
    assert CliRunner().invoke(app, ["health", "--target", "a:1"]).exit_code == 0
    assert asked == [target, "a:1"]
