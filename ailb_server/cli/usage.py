"""`ailb usage`: what requests used and cost. Imports gRPC only once it is called."""

import json
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailb_server.cli.connection import connected
from ailb_server.cli.server_options import ServerOptions, calls_server

if TYPE_CHECKING:
    from ailb.v1.usage_pb2 import UsageSum

_TIMEOUT_S = 60.0
_PAGE = 1000
_MAX_SHOWN = 10_000


Period = Annotated[
    str | None,
    typer.Argument(
        help="24h, 7d, 2026-11, 2026-11-21 or 2026-11-01..2026-11-21, in UTC; else this month.",
        show_default=False,
    ),
]
By = Annotated[
    list[str] | None,
    typer.Option(
        help="day, tenant, key, provider, model or outcome; may be repeated. day if not set.",
        show_default=False,
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT=VALUE",
        help="May be repeated: tenant=, key=NUMBER, provider=, model=, session=. Without the role"
        " admin: own=key or own=tenant.",
    ),
]
Each = Annotated[bool, typer.Option("--csv", help="Every request, one by one, as CSV.")]
AsJson = Annotated[
    bool, typer.Option("--json", help="The sums as JSON, one a line, and the total.")
]


@calls_server
def usage(
    period: Period = None,
    *,
    by: By = None,
    where: Where = None,
    each: Each = False,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Tells what requests used and cost, as a table with bars."""
    by = by or []
    if each and (by or as_json):
        raise typer.BadParameter("--csv tells requests one by one: without --by and --json")
    fields, own = _asked(period, where or [])
    if each and own:
        raise typer.BadParameter("--csv needs the role admin: without own=")
    if each:
        _export(fields, server)
        return
    by = list(dict.fromkeys(by)) or ["day"]
    sums, total, more = _sums({**fields, "group_by": by}, own, server)
    if as_json:
        _print_json(sums, total)
    else:
        _print_table(sums, total, by)
    if more:
        typer.echo(f"ailb: only the first {_MAX_SHOWN} are shown; --where narrows", err=True)


def _asked(period: str | None, where: list[str]) -> tuple[dict[str, Any], str]:
    from datetime import UTC, datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from ailb_server.cli.usage_terms import narrowed, period_of

    try:
        fields, own = narrowed(where)
        if period is not None:
            for name, moment in zip(
                ("start_time", "end_time"), period_of(period, datetime.now(UTC)), strict=True
            ):
                fields[name] = Timestamp()
                fields[name].FromDatetime(moment)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return fields, own


def _sums(
    fields: dict[str, Any], own: str, server: ServerOptions
) -> tuple[list["UsageSum"], "UsageSum", bool]:
    from ailb.v1 import usage_service_pb2 as pb
    from ailb.v1.usage_service_pb2_grpc import UsageServiceStub

    found: list[UsageSum] = []
    token = ""
    with connected(server.target, server.api_key, tls=server.tls) as (channel, metadata):
        stub = UsageServiceStub(channel)
        ask: Callable[..., Any] = stub.ListUsage
        make: Callable[..., Any] = pb.ListUsageRequest
        if own:
            ask, make = stub.ListOwnUsage, pb.ListOwnUsageRequest
            fields = {**fields, "whole_tenant": own == "tenant"}
        while True:
            request = make(**fields, page_size=_PAGE, page_token=token)
            page = ask(request, timeout=_TIMEOUT_S, metadata=metadata)
            found += page.sums
            token = page.next_page_token
            if not token or len(found) >= _MAX_SHOWN:
                return found, page.total, bool(token)


def _export(fields: dict[str, Any], server: ServerOptions) -> None:
    from ailb.v1 import usage_service_pb2 as pb
    from ailb.v1.usage_service_pb2_grpc import UsageServiceStub

    with connected(server.target, server.api_key, tls=server.tls) as (channel, metadata):
        request = pb.ExportUsageRequest(**fields)
        for piece in UsageServiceStub(channel).ExportUsage(request, metadata=metadata):
            sys.stdout.buffer.write(piece.body.data)
        sys.stdout.buffer.flush()


def _print_table(sums: list["UsageSum"], total: "UsageSum", by: list[str]) -> None:
    from ailb_server.cli.usage_table import table

    if not sums:
        typer.echo("No requests.")
        return
    plain = "utf" not in (sys.stdout.encoding or "").lower()
    for line in table(sums, total, by, plain=plain):
        typer.echo(line)
    if total.unpriced_requests:
        typer.echo(f"+? {total.unpriced_requests:,.0f} requests took tokens at no known price.")


def _print_json(sums: list["UsageSum"], total: "UsageSum") -> None:
    from google.protobuf.json_format import MessageToDict

    for name, one in (*(("sum", one) for one in sums), ("total", total)):
        told = MessageToDict(
            one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        typer.echo(json.dumps({name: told}, ensure_ascii=False))
