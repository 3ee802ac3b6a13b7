"""Every command that calls a running AILB is told in the same way where it is, and who calls."""

from collections.abc import Iterator
from typing import Any

import typer
from typer.testing import CliRunner

from ailb_server.cli.main import app

# `bootstrap` asks the database, not a server.
_OWN_WAY = {"keys bootstrap"}


def _commands() -> Iterator[tuple[str, Any]]:
    """Names and click's commands; click is typer's own copy of it."""
    root: Any = typer.main.get_command(app)
    yield "chat", root.commands["chat"]
    for name in ("keys", "memory", "rag"):
        group = root.commands[name]
        assert not {param.name for param in group.params} & {"target", "api_key", "tls"}
        for verb, command in group.commands.items():
            if f"{name} {verb}" not in _OWN_WAY:
                yield f"{name} {verb}", command


def test_the_server_is_told_behind_each_command_or_by_the_environment() -> None:
    wanted = {"--target": "AILB_TARGET", "--api-key": "AILB_API_KEY", "--tls": None}
    for name, command in _commands():
        options = {param.opts[0]: param.envvar for param in command.params}
        assert wanted.items() <= options.items(), name


def test_the_environment_names_the_server() -> None:
    for command in (["memory", "sessions"], ["rag", "collections"], ["keys", "list"]):
        result = CliRunner().invoke(app, command, env={"AILB_TARGET": "127.0.0.1:1"})
        assert result.exit_code == 1
        assert "127.0.0.1:1" in result.output


def test_an_option_goes_before_the_environment() -> None:
    command = ["keys", "list", "--target", "127.0.0.1:2"]
    result = CliRunner().invoke(app, command, env={"AILB_TARGET": "127.0.0.1:1"})
    assert "127.0.0.1:2" in result.output


def test_terms_that_are_none_end_with_status_2() -> None:
    result = CliRunner().invoke(app, ["keys", "create", "x", "--set", "rpm=many"])
    assert (result.exit_code, result.output[:6]) == (2, "ailb: ")
