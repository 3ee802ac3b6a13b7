"""`ailb audit`: what was done or refused, by whom. Imports gRPC only once it is called."""

import csv
import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailb_server.cli.connection import connected
from ailb_server.cli.server_options import ServerOptions, calls_server

if TYPE_CHECKING:
    from ailb.v1.audit_pb2 import AuditEvent

_TIMEOUT_S = 60.0
_PAGE = 1000
_MAX_SHOWN = 10_000
_TABLE_SHOWN = 100

Since = Annotated[
    str | None,
    typer.Option(
        help="24h, 7d, 2026-11, 2026-11-21 or 2026-11-01..2026-11-21, in UTC. Without it the"
        f" newest {_TABLE_SHOWN} are shown.",
        show_default=False,
    ),
]
Action = Annotated[
    str | None,
    typer.Option(
        help="What happened: key.created, or key.* for all of a kind.", show_default=False
    ),
]
ActorName = Annotated[str | None, typer.Option("--actor", help="By whom.", show_default=False)]
Where = Annotated[
    list[str] | None,
    typer.Option(
        metavar="WHAT=VALUE",
        help="May be repeated: outcome=ok, refused or failed; tenant=, subject=, request=,"
        " key=NUMBER (of who did it).",
    ),
]
AsJson = Annotated[
    bool | None, typer.Option("--json/--csv", help="One JSON object a line; or CSV. Else a table.")
]


@calls_server
def audit(
    *,
    since: Since = None,
    action: Action = None,
    actor: ActorName = None,
    where: Where = None,
    as_json: AsJson = None,
    server: ServerOptions,
) -> None:
    """Tells what was done or refused, by whom: the newest first."""
    fields = _asked(since, where or [])
    fields |= {"action": action or "", "actor": actor or ""}
    most = _TABLE_SHOWN if since is None and as_json is None else _MAX_SHOWN
    events, more = _events(fields, most, server)
    if as_json is None:
        _print_table(events)
    elif as_json:
        _print_json(events)
    else:
        _print_csv(events)
    if more:
        typer.echo(f"ailb: only the newest {most} are shown; --since and --where narrow", err=True)


def _asked(since: str | None, where: list[str]) -> dict[str, Any]:
    from datetime import UTC, datetime

    from google.protobuf.timestamp_pb2 import Timestamp

    from ailb_server.cli.audit_terms import narrowed
    from ailb_server.cli.usage_terms import period_of

    try:
        fields = narrowed(where)
        if since is not None:
            moments = period_of(since, datetime.now(UTC))
            for name, moment in zip(("start_time", "end_time"), moments, strict=True):
                fields[name] = Timestamp()
                fields[name].FromDatetime(moment)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    return fields


def _events(
    fields: dict[str, Any], most: int, server: ServerOptions
) -> tuple[list["AuditEvent"], bool]:
    from ailb.v1 import audit_service_pb2 as pb
    from ailb.v1.audit_service_pb2_grpc import AuditServiceStub

    found: list[AuditEvent] = []
    token = ""
    with connected(server.target, server.api_key, tls=server.tls) as (channel, metadata):
        stub = AuditServiceStub(channel)
        while True:
            size = min(_PAGE, most - len(found))
            request = pb.ListAuditEventsRequest(**fields, page_size=size, page_token=token)
            page = stub.ListAuditEvents(request, timeout=_TIMEOUT_S, metadata=metadata)
            found += page.events
            token = page.next_page_token
            if not token or len(found) >= most:
                return found, bool(token)


def _print_table(events: list["AuditEvent"]) -> None:
    from ailb_server.cli.audit_table import table

    if not events:
        typer.echo("No events.")
    for line in table(events):
        typer.echo(line)


def _print_json(events: list["AuditEvent"]) -> None:
    from google.protobuf.json_format import MessageToDict

    for event in events:
        told = MessageToDict(
            event, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
        typer.echo(json.dumps(told, ensure_ascii=False))


def _print_csv(events: list["AuditEvent"]) -> None:
    from ailb_server.cli.audit_table import COLUMNS, cells

    writer = csv.writer(sys.stdout, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows(cells(event) for event in events)
