"""The command `ailb`. Everything heavy is imported by the command that needs it."""

import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated

import typer

from ailb_server.cli import memory, rag
from ailb_server.cli.audit import audit
from ailb_server.cli.chat import chat
from ailb_server.cli.configured import configured
from ailb_server.cli.keys import keys
from ailb_server.cli.server_options import TLS, TLS_CA, TLS_CERT, TLS_KEY, tls_options
from ailb_server.cli.tenants import tenants
from ailb_server.cli.usage import usage

app = typer.Typer(
    name="ailb",
    help="AILB: an LLM gateway. `ailb up` runs all of it on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(chat)
app.command()(usage)
app.command()(audit)
app.add_typer(memory.app, name="memory")
app.add_typer(rag.app, name="rag")
app.add_typer(keys, name="keys")
app.add_typer(tenants, name="tenants")


@app.command()
def up(
    instances: Annotated[
        int,
        typer.Option(
            min=1, max=64, help="Gateways, each a process that uses a core, behind one Envoy."
        ),
    ] = 1,
) -> None:
    """Runs everything here: Postgres, the gateway and Envoy. For trying and developing."""
    from ailb_server.cli.up import run

    _run(run(configured("text"), instances))


@app.command(hidden=True)
def instance() -> None:
    """One of the gateways of `ailb up --instances`, which starts it."""
    from ailb_server.cli.instance import run

    _run(run(configured("text", one_of_several=True)))


@app.command()
def serve() -> None:
    """Runs the gateway alone, for production: Postgres from DATABASE_URL, Envoy beside it."""
    from ailb_server.cli.serve import run

    _run(run(configured("auto")))


@app.command()
def migrate() -> None:
    """Brings the database of DATABASE_URL up to date, and says what it did."""
    from ailb_server.cli.serve import migrate_database

    _run(migrate_database(configured("text")))


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

    write(configured("text"), output, upstream or [], mounted_as)


@app.command()
def health(
    target: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="The server; else HOST and GRPC_PORT here."),
    ] = None,
    *,
    tls: TLS = False,
    tls_ca: TLS_CA = None,
    tls_cert: TLS_CERT = None,
    tls_key: TLS_KEY = None,
) -> None:
    """Asks a running server whether it serves: status 0 if so, else 1. For containers.

    Without a target, TLS is as the settings say.
    """
    from ailb_server.cli.health import check, check_own

    if target is None:
        sys.exit(check_own(configured("text")))
    options = tls_options(encrypted=tls, ca=tls_ca, certificate=tls_cert, key=tls_key)
    sys.exit(check(target, None if options is None else options.files()))


def _run(work: Coroutine[None, None, int]) -> None:
    import uvloop

    sys.exit(uvloop.run(work))
