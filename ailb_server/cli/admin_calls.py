"""What the commands for admins share: calls of a running server, and tables."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import typer

from ailb_server.cli.connection import connected
from ailb_server.cli.server_options import ServerOptions

_TIMEOUT_S = 10.0


@contextlib.contextmanager
def asking(service: str, server: ServerOptions) -> Iterator[Callable[[str, Any, Any], Any]]:
    """What calls a method of a service: by its name, a request and the response's class.

    One line for what goes wrong meanwhile; the status is 2 for terms that are none, else 1.
    """
    try:
        with connected(server.target, server.api_key, tls=server.tls) as (channel, metadata):

            def ask(method: str, request: Any, response: Any) -> Any:
                call = channel.unary_unary(
                    f"/{service}/{method}",
                    type(request).SerializeToString,
                    response.FromString,
                )
                return call(request, timeout=_TIMEOUT_S, metadata=metadata)

            yield ask
    except ValueError as error:
        typer.echo(f"ailb: {error}", err=True)
        raise typer.Exit(2) from None


def print_table(rows: Sequence[tuple[str, ...]]) -> None:
    """Each column as wide as its longest cell."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
