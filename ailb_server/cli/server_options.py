"""The options of every command that calls a running AILB, told once."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ailb_server.tls.dialling import CallerFiles

_TARGET = Annotated[
    str, typer.Option(envvar="AILB_TARGET", metavar="HOST:PORT", help="AILB's gRPC server.")
]
_API_KEY = Annotated[
    str | None, typer.Option(envvar="AILB_API_KEY", help="A key of AILB.", show_default=False)
]
TLS = Annotated[bool, typer.Option("--tls", help="Encrypts the connection.")]
TLS_CA = Annotated[
    Path | None,
    typer.Option(
        "--tls-ca",
        envvar="AILB_TLS_CA",
        metavar="FILE",
        help="Whose signature its certificate must have, as PEM; else the machine's roots.",
        show_default=False,
    ),
]
TLS_CERT = Annotated[
    Path | None,
    typer.Option(
        "--tls-cert",
        envvar="AILB_TLS_CERT",
        metavar="FILE",
        help="Your own certificate, for a server that asks for one.",
        show_default=False,
    ),
]
TLS_KEY = Annotated[
    Path | None,
    typer.Option(
        "--tls-key",
        envvar="AILB_TLS_KEY",
        metavar="FILE",
        help="Its private key.",
        show_default=False,
    ),
]
_LOCAL = "localhost:50051"


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """What a caller needs for TLS."""

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    def files(self) -> "CallerFiles":
        """With the options' names, for errors."""
        from ailb_server.tls.dialling import CallerFiles
        from ailb_server.tls.files import NamedFile

        def named(option: str, path: Path | None) -> NamedFile | None:
            return None if path is None else NamedFile(option, path)

        return CallerFiles(
            named("--tls-ca", self.ca),
            named("--tls-cert", self.certificate),
            named("--tls-key", self.key),
        )


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where AILB is, and who calls; without `tls` in the clear."""

    target: str
    api_key: str | None
    tls: TlsOptions | None


def tls_options(
    *, encrypted: bool, ca: Path | None, certificate: Path | None, key: Path | None
) -> TlsOptions | None:
    """None for a connection in the clear; a file named is TLS meant."""
    if (certificate is None) != (key is None):
        raise typer.BadParameter("--tls-cert and --tls-key belong together")
    files = TlsOptions(ca, certificate, key)
    return files if encrypted or files != TlsOptions() else None


def calls_server(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `--target`, `--api-key`, `--tls` and its files, as its parameter `server`."""

    def call(**given: Any) -> None:
        tls = tls_options(
            encrypted=given.pop("tls"),
            ca=given.pop("tls_ca"),
            certificate=given.pop("tls_cert"),
            key=given.pop("tls_key"),
        )
        server = ServerOptions(given.pop("target"), given.pop("api_key"), tls)
        command(**given, server=server)

    added = (
        ("target", _TARGET, _LOCAL),
        ("api_key", _API_KEY, None),
        ("tls", TLS, False),
        ("tls_ca", TLS_CA, None),
        ("tls_cert", TLS_CERT, None),
        ("tls_key", TLS_KEY, None),
    )
    own = inspect.signature(command).parameters.values()
    kept = [p.replace(kind=p.KEYWORD_ONLY) for p in own if p.name != "server"]
    new = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)
        for name, kind, default in added
    ]
    # What typer reads of a function.
    call.__dict__["__signature__"] = inspect.Signature([*kept, *new])
    call.__annotations__ = {p.name: p.annotation for p in (*kept, *new)}
    call.__doc__, call.__name__ = command.__doc__, command.__name__
    return call
