"""A command's connection to a running AILB. Imports gRPC only once it is called."""

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from ailb_server.cli.server_options import TlsOptions
from ailb_server.cli.terminal import harmless

if TYPE_CHECKING:
    import grpc

Metadata = tuple[tuple[str, str], ...]


@contextlib.contextmanager
def connected(
    target: str, api_key: str | None, *, tls: TlsOptions | None
) -> "Iterator[tuple[grpc.Channel, Metadata]]":
    """A channel, and what goes with each call.

    An error of a call ends the command: one line, and status 1; 130 after Ctrl-C.
    """
    # Its own log would be mixed into the output; gRPC reads this as it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import grpc

    from ailb_server.tls.files import TlsFileError

    metadata: Metadata = (("authorization", f"Bearer {api_key}"),) if api_key else ()
    try:
        with _channel(target, tls=tls) as channel:
            yield channel, metadata
    except grpc.RpcError as error:
        typer.echo(f"ailb: {_line(error)}", err=True)
        raise typer.Exit(1) from None
    except TlsFileError as error:
        typer.echo(f"ailb: {error}", err=True)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        typer.echo(err=True)
        raise typer.Exit(130) from None


def _channel(target: str, *, tls: TlsOptions | None) -> "grpc.Channel":
    import grpc

    if tls is None:
        return grpc.insecure_channel(target)
    return grpc.secure_channel(target, tls.files().credentials())


def _line(error: "grpc.RpcError") -> str:
    # A call's error is the call too, which the type does not say.
    details = getattr(error, "details", None)
    told = details() if callable(details) else None
    return " ".join(harmless(str(told or error)).split())
