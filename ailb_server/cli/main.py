"""The command `ailb`. Everything heavy is imported by the command that needs it."""

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ailb_server.cli import memory, rag
from ailb_server.cli.chat import chat

if TYPE_CHECKING:
    from ailb_server.settings import Configuration

app = typer.Typer(
    name="ailb",
    help="AILB: an LLM gateway. `ailb up` runs all of it on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(chat)
app.add_typer(memory.app, name="memory")
app.add_typer(rag.app, name="rag")


@app.command()
def up() -> None:
    """Runs everything here: Postgres, the gateway and Envoy. For trying and developing."""
    from ailb_server.cli.up import run

    _run(run(_configuration("text")))


@app.command()
def serve() -> None:
    """Runs the gateway alone, for production: Postgres from DATABASE_URL, Envoy beside it."""
    from ailb_server.cli.serve import run

    _run(run(_configuration("json")))


@app.command()
def migrate() -> None:
    """Brings the database of DATABASE_URL up to date, and says what it did."""
    from ailb_server.cli.serve import migrate_database

    _run(migrate_database(_configuration("text")))


@app.command("envoy-config")
def envoy_config(
    output: Annotated[Path, typer.Argument(help="Directory to write to; made if missing.")],
    upstream: Annotated[
        list[str] | None, typer.Option(help="host:port of a gRPC server; may be repeated.")
    ] = None,
    mounted_as: Annotated[
        str | None, typer.Option(help="Where Envoy will find the directory, in its container.")
    ] = None,
) -> None:
    """Writes Envoy's configuration for HOST, HTTP_PORT and the given servers."""
    from ailb_server.cli.envoy_config import write

    write(_configuration("text"), output, upstream or [], mounted_as)


@app.command()
def health(
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The server; else HOST and GRPC_PORT here."),
    ] = None,
) -> None:
    """Asks a running server whether it serves: status 0 if so, else 1. For containers."""
    from ailb_server.cli.health import check

    sys.exit(check(target or _own_target()))


def _own_target() -> str:
    from ailb_server.local.addresses import authority, called_host

    settings = _configuration("text").settings
    return authority(called_host(settings.host), settings.grpc_port)


def _configuration(log_format: str) -> "Configuration":
    from ailb_server.settings import SettingsError, load
    from ailb_server.telemetry import logs

    try:
        configuration = load()
    except SettingsError as error:
        for fault in error.faults:
            typer.echo(fault, err=True)
        raise typer.Exit(2) from None
    settings = configuration.settings
    chosen = settings.log_format or log_format
    logs.configure(settings.log_level, "json" if chosen == "json" else "text")
    return configuration


def _run(work: Coroutine[None, None, int]) -> None:
    import uvloop

    sys.exit(uvloop.run(work))
