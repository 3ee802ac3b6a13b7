"""`ailb tenants`: tenants and their limits, of a running AILB, by its gRPC server.

Imports gRPC only once a command is called.
"""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailb_server.cli.admin_calls import asking, print_table
from ailb_server.cli.server_options import ServerOptions, calls_server

if TYPE_CHECKING:
    from ailb.v1 import tenant_pb2

_SERVICE = "ailb.v1.TenantService"
_COLUMNS = ("NAME", "KEYS", "RPM", "TPM", "CONCURRENT", "BUDGET")
_LIMITS = ("requests_per_minute", "tokens_per_minute", "max_concurrent", "monthly_budget_usd")

tenants = typer.Typer(
    help="Makes, lists and limits tenants. Needs a key with the role admin.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(help="The tenant's name.")]
Terms = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="WHAT=VALUE",
        help="May be repeated. rpm=N, tpm=N, concurrent=N, budget=USD a month: of all its keys"
        " together.",
    ),
]


@tenants.command()
@calls_server
def create(name: Name, *, terms: Terms = None, server: ServerOptions) -> None:
    """Makes a tenant. Making a key makes its tenant too."""
    from ailb.v1 import tenant_service_pb2 as pb
    from ailb_server.cli.key_terms import fill_limits

    with asking(_SERVICE, server) as ask:
        request = pb.CreateTenantRequest(name=name)
        fill_limits(request.limits, terms or ())
        _print_json(ask("CreateTenant", request, pb.CreateTenantResponse))


@tenants.command("list")
@calls_server
def list_tenants(*, server: ServerOptions) -> None:
    """Lists the tenants, with the limits of all their keys together."""
    from ailb.v1 import tenant_service_pb2 as pb

    found: list[tenant_pb2.Tenant] = []
    with asking(_SERVICE, server) as ask:
        token, more = "", True
        while more:
            request = pb.ListTenantsRequest(page_size=1000, page_token=token)
            page = ask("ListTenants", request, pb.ListTenantsResponse)
            found.extend(page.tenants)
            token = page.next_page_token
            more = bool(token)
    print_table([_COLUMNS, *(_row(tenant) for tenant in found)])


@tenants.command()
@calls_server
def get(name: Name, *, server: ServerOptions) -> None:
    """Shows a tenant as JSON."""
    from ailb.v1 import tenant_service_pb2 as pb

    with asking(_SERVICE, server) as ask:
        _print_json(ask("GetTenant", pb.GetTenantRequest(name=name), pb.GetTenantResponse))


@tenants.command()
@calls_server
def update(
    name: Name,
    *,
    terms: Terms = None,
    clear: Annotated[
        list[str] | None,
        typer.Option(help="A limit to lift: rpm, tpm, concurrent or budget. May be repeated."),
    ] = None,
    server: ServerOptions,
) -> None:
    """Changes a tenant's limits; in force on every instance within a second."""
    from ailb.v1 import tenant_service_pb2 as pb
    from ailb_server.cli.key_terms import cleared, fill_limits

    with asking(_SERVICE, server) as ask:
        request = pb.UpdateTenantRequest(name=name, clear=cleared(clear or ()))
        fill_limits(request.limits, terms or ())
        _print_json(ask("UpdateTenant", request, pb.UpdateTenantResponse))


def _row(tenant: "tenant_pb2.Tenant") -> tuple[str, ...]:
    said = {field.name: f"{value:,}" for field, value in tenant.limits.ListFields()}
    return (tenant.name, str(tenant.keys), *(said.get(name, "-") for name in _LIMITS))


def _print_json(answer: Any) -> None:
    from google.protobuf.json_format import MessageToJson

    typer.echo(MessageToJson(answer.tenant, preserving_proto_field_name=True))
