"""The options of every command that calls a running AILB, told once."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import typer

_TARGET = Annotated[
    str, typer.Option(envvar="AILB_TARGET", metavar="HOST:PORT", help="AILB's gRPC server.")
]
_API_KEY = Annotated[
    str | None, typer.Option(envvar="AILB_API_KEY", help="A key of AILB.", show_default=False)
]
_TLS = Annotated[bool, typer.Option("--tls", help="Encrypts the connection.")]
_LOCAL = "localhost:50051"


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """Where AILB is, and who calls."""

    target: str
    api_key: str | None
    tls: bool


def calls_server(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command `--target`, `--api-key` and `--tls`, as its parameter `server`."""

    def call(**given: Any) -> None:
        server = ServerOptions(given.pop("target"), given.pop("api_key"), given.pop("tls"))
        command(**given, server=server)

    added = (("target", _TARGET, _LOCAL), ("api_key", _API_KEY, None), ("tls", _TLS, False))
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
