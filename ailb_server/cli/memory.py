"""`ailb memory`: what a running AILB remembers of conversations. Imports gRPC only once called."""

import contextlib
from typing import TYPE_CHECKING, Annotated

import typer

from ailb_server.cli.connection import connected
from ailb_server.cli.server_options import ServerOptions, calls_server
from ailb_server.cli.terminal import harmless

if TYPE_CHECKING:
    import grpc

    from ailb.v1.memory_pb2 import Session, Turn
    from ailb.v1.memory_service_pb2_grpc import MemoryServiceStub

app = typer.Typer(help="What AILB remembers of conversations.", no_args_is_help=True)

_TIMEOUT_S = 60.0
_PAGE = 200
_ROLE = "ROLE_"


@app.command()
@calls_server
def sessions(
    *,
    user: Annotated[str, typer.Option(help="Only this end user's.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    server: ServerOptions,
) -> None:
    """Lists the sessions, the last used first."""
    from ailb.v1 import memory_service_pb2 as pb

    with connected(server.target, server.api_key, tls=server.tls) as (channel, key):
        service = _stub(channel)
        token, left = "", limit
        while left > 0:
            request = pb.ListSessionsRequest(
                user=user, page_size=min(left, _PAGE), page_token=token
            )
            page = service.ListSessions(request, timeout=_TIMEOUT_S, metadata=key)
            for session in page.sessions:
                typer.echo(_session_line(session))
            left, token = left - len(page.sessions), page.next_page_token
            if not token:
                break


@app.command()
@calls_server
def turns(
    session_id: Annotated[str, typer.Argument(help="The session.")],
    *,
    server: ServerOptions,
) -> None:
    """Prints what was said in a session, oldest first."""
    from ailb.v1 import memory_service_pb2 as pb

    with connected(server.target, server.api_key, tls=server.tls) as (channel, key):
        service = _stub(channel)
        token = ""
        while True:
            request = pb.ListTurnsRequest(session_id=session_id, page_size=_PAGE, page_token=token)
            page = service.ListTurns(request, timeout=_TIMEOUT_S, metadata=key)
            for turn in page.turns:
                typer.echo(_turn_text(turn))
            token = page.next_page_token
            if not token:
                break


@app.command()
@calls_server
def search(
    query: Annotated[str, typer.Argument(help="What is sought, in words.")],
    *,
    session: Annotated[str, typer.Option(help="Only in this session.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 10,
    server: ServerOptions,
) -> None:
    """Finds turns by meaning and by words, the best first."""
    from ailb.v1 import memory_service_pb2 as pb

    with connected(server.target, server.api_key, tls=server.tls) as (channel, key):
        service = _stub(channel)
        request = pb.SearchTurnsRequest(query=query, session_id=session, limit=limit)
        for match in service.SearchTurns(request, timeout=_TIMEOUT_S, metadata=key).matches:
            typer.echo(f"{harmless(match.session_id)} {_turn_text(match.turn)}")


@app.command()
@calls_server
def delete(
    session_id: Annotated[str | None, typer.Argument(help="The session.")] = None,
    *,
    user: Annotated[str, typer.Option(help="All of this end user's instead.")] = "",
    every: Annotated[bool, typer.Option("--all", help="All of the tenant's instead.")] = False,
    server: ServerOptions,
) -> None:
    """Deletes a session, an end user's sessions, or all of them."""
    from ailb.v1 import memory_service_pb2 as pb

    if [session_id is not None, bool(user), every].count(True) != 1:
        raise typer.BadParameter("give a session, --user or --all")
    with connected(server.target, server.api_key, tls=server.tls) as (channel, key):
        service = _stub(channel)
        if session_id is not None:
            service.DeleteSession(
                pb.DeleteSessionRequest(session_id=session_id), timeout=_TIMEOUT_S, metadata=key
            )
            typer.echo("deleted 1")
        else:
            # Many are deleted in batches, each of which is quick.
            request = pb.DeleteSessionsRequest(user=user, all=every)
            typer.echo(f"deleted {service.DeleteSessions(request, metadata=key).deleted}")


@app.command()
@calls_server
def reindex(*, server: ServerOptions) -> None:
    """Embeds all turns anew after the embedding model has changed. Interrupted, it may be run again
    and goes on."""
    from ailb.v1 import memory_service_pb2 as pb

    with connected(server.target, server.api_key, tls=server.tls) as (channel, key):
        service = _stub(channel)
        bar = None
        done = total = 0
        with contextlib.ExitStack() as shown:
            for step in service.ReindexSessions(pb.ReindexSessionsRequest(), metadata=key):
                progress = step.progress
                if bar is None:
                    bar = shown.enter_context(
                        typer.progressbar(length=progress.total, label="Embedding turns")
                    )
                bar.length = progress.total
                bar.update(max(0, progress.done - done))
                done, total = progress.done, progress.total
    typer.echo(f"embedded: {done} of {total} turns")


def _session_line(session: "Session") -> str:
    last = session.last_turn_at.ToDatetime().isoformat(" ", "minutes")
    user = f"  {session.user}" if session.user else ""
    return harmless(f"{last}  {session.turn_count:>6} turns  {session.id}{user}")


def _turn_text(turn: "Turn") -> str:
    from ailb.v1.chat_pb2 import Role

    said_at = turn.created_at.ToDatetime().isoformat(" ", "minutes")
    role = Role.Name(turn.role).removeprefix(_ROLE).lower()
    by = f" ({turn.provider}/{turn.model})" if turn.model else ""
    return harmless(f"[{turn.index}] {said_at} {role}{by}: {turn.text}")


def _stub(channel: "grpc.Channel") -> "MemoryServiceStub":
    from ailb.v1.memory_service_pb2_grpc import MemoryServiceStub

    return MemoryServiceStub(channel)
