"""`ailb keys`: API keys of a running AILB, by its gRPC server. `bootstrap` needs the database only.

Imports gRPC only once a command is called.
"""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailb_server.cli.admin_calls import asking, print_table
from ailb_server.cli.configured import configured
from ailb_server.cli.server_options import ServerOptions, calls_server

if TYPE_CHECKING:
    from ailb.v1 import api_key_pb2

_SERVICE = "ailb.v1.ApiKeyService"
_COLUMNS = ("ID", "TENANT", "NAME", "SECRET", "ROLE", "STATE", "MODELS")

keys = typer.Typer(
    help="Makes, lists, changes, rotates and revokes API keys. Needs one with the role admin.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Id = Annotated[int, typer.Argument(help="The key's number, as `ailb keys list` tells it.", min=1)]
Terms = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="WHAT=VALUE",
        help="May be repeated. model=PATTERN and collection=PATTERN (both several times; * is a"
        " wildcard), rpm=N, tpm=N, concurrent=N, budget=USD a month, expires=30d or 2030-01-31,"
        " note.KEY=TEXT.",
    ),
]


@keys.command()
@calls_server
def create(
    name: Annotated[str, typer.Argument(help="Its name, for people.")],
    *,
    tenant: Annotated[str, typer.Option(help="Whom it belongs to; made if missing.")] = "default",
    role: Annotated[str, typer.Option(help="user, admin or module.")] = "user",
    terms: Terms = None,
    server: ServerOptions,
) -> None:
    """Makes a key and prints its secret, which nobody can show again, to standard output."""
    from ailb.v1 import api_key_service_pb2 as pb
    from ailb_server.cli.key_terms import fill, role_number

    with asking(_SERVICE, server) as ask:
        request = pb.CreateApiKeyRequest(name=name, tenant=tenant, role=role_number(role))
        fill(request, terms or ())
        _hand_over(ask("CreateApiKey", request, pb.CreateApiKeyResponse))


@keys.command("list")
@calls_server
def list_keys(
    *,
    tenant: Annotated[str, typer.Option(help="Only this tenant's.")] = "",
    all_keys: Annotated[bool, typer.Option("--all", help="Also those that were revoked.")] = False,
    server: ServerOptions,
) -> None:
    """Lists the keys."""
    from ailb.v1 import api_key_service_pb2 as pb

    found: list[api_key_pb2.ApiKey] = []
    with asking(_SERVICE, server) as ask:
        token, more = "", True
        while more:
            request = pb.ListApiKeysRequest(
                page_size=1000, page_token=token, tenant=tenant, show_revoked=all_keys
            )
            page = ask("ListApiKeys", request, pb.ListApiKeysResponse)
            found.extend(page.api_keys)
            token = page.next_page_token
            more = bool(token)
    print_table([_COLUMNS, *(_row(key) for key in found)])


@keys.command()
@calls_server
def get(key: Id, *, server: ServerOptions) -> None:
    """Prints a key, without its secret, as JSON."""
    from ailb.v1 import api_key_service_pb2 as pb

    with asking(_SERVICE, server) as ask:
        _print_json(ask("GetApiKey", pb.GetApiKeyRequest(id=key), pb.GetApiKeyResponse).api_key)


@keys.command()
@calls_server
def update(
    key: Id,
    *,
    name: Annotated[str | None, typer.Option(help="Another name.")] = None,
    terms: Terms = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT",
            help="Takes away: model, collection, rpm, tpm, concurrent, budget, expires, note.",
        ),
    ] = None,
    server: ServerOptions,
) -> None:
    """Changes a key and prints it as JSON."""
    from ailb.v1 import api_key_service_pb2 as pb
    from ailb_server.cli.key_terms import cleared, fill

    with asking(_SERVICE, server) as ask:
        request = pb.UpdateApiKeyRequest(id=key, name=name, clear=cleared(clear or ()))
        fill(request, terms or ())
        _print_json(ask("UpdateApiKey", request, pb.UpdateApiKeyResponse).api_key)


@keys.command()
@calls_server
def rotate(
    key: Id,
    *,
    grace: Annotated[
        int, typer.Option(metavar="SECONDS", help="How long the secret so far is accepted.")
    ] = 86_400,
    server: ServerOptions,
) -> None:
    """Gives a key a new secret and prints it to standard output."""
    from ailb.v1 import api_key_service_pb2 as pb

    with asking(_SERVICE, server) as ask:
        request = pb.RotateApiKeyRequest(id=key, grace_seconds=grace)
        _hand_over(ask("RotateApiKey", request, pb.RotateApiKeyResponse))


@keys.command()
@calls_server
def revoke(key: Id, *, server: ServerOptions) -> None:
    """Takes a key back, for good."""
    from ailb.v1 import api_key_service_pb2 as pb

    with asking(_SERVICE, server) as ask:
        ask("RevokeApiKey", pb.RevokeApiKeyRequest(id=key), pb.RevokeApiKeyResponse)
    typer.echo(f"Key {key} is revoked.", err=True)


@keys.command()
def bootstrap(
    name: Annotated[str, typer.Option(help="The key's name.")] = "admin",
) -> None:
    """Makes a key with the role admin in the database of DATABASE_URL, without a server."""
    import asyncio

    from ailb_server.cli.bootstrap import make_admin

    sys.exit(asyncio.run(make_admin(configured("text"), name)))


def _hand_over(made: Any) -> None:
    key = made.api_key
    typer.echo(
        f"Key {key.id}, {key.name}, of {key.tenant}. Its secret is shown only now:", err=True
    )
    typer.echo(made.secret)


def _row(key: "api_key_pb2.ApiKey") -> tuple[str, ...]:
    from ailb.v1 import api_key_pb2

    role = api_key_pb2.KeyRole.Name(key.role).removeprefix("KEY_ROLE_").lower()
    state = api_key_pb2.KeyState.Name(key.state).removeprefix("KEY_STATE_").lower()
    models = ", ".join(key.allowed_models) or "all"
    return (str(key.id), key.tenant, key.name, f"{key.prefix}…", role, state, models)


def _print_json(key: "api_key_pb2.ApiKey") -> None:
    from google.protobuf.json_format import MessageToJson

    typer.echo(MessageToJson(key, preserving_proto_field_name=True))
