"""`ailb envoy-config`: Envoy's configuration for a machine or a container of its own."""

import shutil
from pathlib import Path

import typer

from ailb_server.local.envoy_config import DATA_FILES, Address, Edge, render
from ailb_server.local.envoy_settings import transport
from ailb_server.local.resources import data_dir
from ailb_server.settings import Configuration
from ailb_server.tls.files import TlsFileError


def write(
    configuration: Configuration, output: Path, servers: list[str], mounted_as: str | None
) -> None:
    """Writes `envoy.yaml` and what it refers to. `mounted_as` is where Envoy will see `output`."""
    settings = configuration.settings
    source = data_dir("envoy")
    called = [_address(server) for server in servers] or [Address("127.0.0.1", settings.grpc_port)]
    try:
        sockets = transport(settings, [server.host for server in called])
    except TlsFileError as error:
        typer.echo(f"ailb: {error}. ENVOY_UPSTREAM_NAMES tells what it is read for.", err=True)
        raise typer.Exit(2) from None
    output.mkdir(parents=True, exist_ok=True)
    edge = Edge(
        listen=Address(settings.host, settings.http_port),
        servers=called,
        data_dir=mounted_as or str(output.resolve()),
        transport=sockets,
    )
    for name, text in sockets.secrets().items():
        (output / name).write_text(text, encoding="utf-8")
    (output / "envoy.yaml").write_text(render(source, edge), encoding="utf-8")
    for name in DATA_FILES:
        shutil.copy(source / name, output / name)
    typer.echo(f"Wrote {output / 'envoy.yaml'}.")


def _address(server: str) -> Address:
    host, _, port = server.rpartition(":")
    if not host or not port.isdigit():
        typer.echo(f"--upstream {server}: is not host:port", err=True)
        raise typer.Exit(2)
    return Address(host.strip("[]"), int(port))
