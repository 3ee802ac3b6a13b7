"""`ailb rag`: the knowledge of a running AILB. Imports gRPC only once it is called."""

import contextlib
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ailb_server.cli.connection import Metadata, connected
from ailb_server.cli.server_options import ServerOptions, calls_server
from ailb_server.cli.terminal import harmless

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from ailb.v1.knowledge_service_pb2_grpc import KnowledgeServiceStub
    from ailb_server.cli.rag_upload import Tally

app = typer.Typer(help="Knowledge that chats draw upon: collections of documents.")

CollectionName = Annotated[str, typer.Argument(help="The collection's name.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]
_TIMEOUT_S = 60.0
_PAGE = 200


@app.command()
@calls_server
def create(
    name: Annotated[str, typer.Argument(help="Letters, digits, `.`, `_` and `-`.")],
    *,
    description: Annotated[str, typer.Option(help="What it holds, for people.")] = "",
    chunk_size: Annotated[int, typer.Option(help="The longest passage, in characters.")] = 1000,
    chunk_overlap: Annotated[
        int | None, typer.Option(help="What a passage repeats of the one before, at most.")
    ] = None,
    server: ServerOptions,
) -> None:
    """Makes an empty collection."""
    from ailb.v1 import knowledge_service_pb2 as pb

    request = pb.CreateCollectionRequest(
        name=name, description=description, chunk_size=chunk_size, chunk_overlap=chunk_overlap
    )
    with _service(server) as (service, metadata):
        service.CreateCollection(request, timeout=_TIMEOUT_S, metadata=metadata)
    typer.echo(f"created {name}")


@app.command()
@calls_server
def collections(*, as_json: AsJson = False, server: ServerOptions) -> None:
    """Lists the collections."""
    from ailb.v1 import knowledge_service_pb2 as pb

    with _service(server) as (service, metadata):
        token = ""
        while True:
            request = pb.ListCollectionsRequest(page_size=_PAGE, page_token=token)
            page = service.ListCollections(request, timeout=_TIMEOUT_S, metadata=metadata)
            for found in page.collections:
                model = found.embedding_model or "not embedded"
                counts = f"{found.document_count:>8} documents {found.passage_count:>9} passages"
                _show(found, f"{found.name:<32} {counts}  {model}", as_json=as_json)
            token = page.next_page_token
            if not token:
                break


@app.command()
@calls_server
def documents(
    collection: CollectionName, *, as_json: AsJson = False, server: ServerOptions
) -> None:
    """Lists a collection's documents."""
    from ailb.v1 import knowledge_service_pb2 as pb

    with _service(server) as (service, metadata):
        token = ""
        while True:
            request = pb.ListDocumentsRequest(
                collection=collection, page_size=_PAGE, page_token=token
            )
            page = service.ListDocuments(request, timeout=_TIMEOUT_S, metadata=metadata)
            for found in page.documents:
                line = f"{found.passage_count:>6} passages  {found.id}  {found.title}"
                _show(found, line, as_json=as_json)
            token = page.next_page_token
            if not token:
                break


@app.command("import")
@calls_server
def import_(
    paths: Annotated[list[Path], typer.Argument(help="Files and directories.")],
    *,
    collection: Annotated[str, typer.Option(help="Where they go.")],
    create: Annotated[bool, typer.Option("--create", help="Makes it if it is missing.")] = False,
    pattern: Annotated[
        str | None,
        typer.Option(help="Only files that it fits, such as `*.md` or `guide/*.txt`, of any kind."),
    ] = None,
    source_prefix: Annotated[
        str, typer.Option(help="Put before a path to make its source, such as a URL.")
    ] = "",
    server: ServerOptions,
) -> None:
    """Imports text, Markdown, HTML and PDF files; directories with all below, but for what is
    hidden.

    May be interrupted and run again: what the collection has already is not sent. The exit status
    is 1 if a file could not be imported, 130 after Ctrl-C.
    """
    from ailb_server.cli.rag_files import find_files
    from ailb_server.cli.rag_upload import Tally, Upload

    tally = Tally(told=lambda _: None, complain=_complain)
    files = find_files(paths, pattern, tally.fail)
    with _service(server) as (service, metadata):
        _find_collection(service, metadata, collection, create=create)
        with _followed(tally, len(files)):
            Upload(service, metadata, collection, tally, source_prefix).run(files)
    if tally.failed:
        raise typer.Exit(1)


@app.command()
@calls_server
def search(
    collection: CollectionName,
    query: Annotated[str, typer.Argument(help="What is sought, in words.")],
    *,
    top_k: Annotated[int, typer.Option(min=1, max=50, help="At most so many passages.")] = 3,
    min_score: Annotated[
        float | None, typer.Option(help="Only passages at least so similar: cosine.")
    ] = None,
    as_json: AsJson = False,
    server: ServerOptions,
) -> None:
    """Finds passages by meaning and by words, the best first."""
    from ailb.v1 import knowledge_service_pb2 as pb

    request = pb.SearchPassagesRequest(
        collection=collection, query=query, top_k=top_k, min_score=min_score
    )
    with _service(server) as (service, metadata):
        found = service.SearchPassages(request, timeout=_TIMEOUT_S, metadata=metadata).passages
    for number, passage in enumerate(found, start=1):
        head = f"[{number}] {passage.title} ({passage.document_id}), {passage.similarity:.2f}"
        text = "\n".join(f"    {line}" for line in passage.text.splitlines())
        _show(passage, f"{head}\n{text}\n", as_json=as_json)


@app.command()
@calls_server
def delete(
    collection: CollectionName,
    document: Annotated[
        str | None, typer.Argument(help="A document's id; else the whole collection.")
    ] = None,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Does not ask.")] = False,
    server: ServerOptions,
) -> None:
    """Deletes a document, or a collection with all of its documents."""
    from ailb.v1 import knowledge_service_pb2 as pb

    if document is None and not yes:
        typer.confirm(f"Delete {collection} with all of its documents?", abort=True)
    with _service(server) as (service, metadata):
        if document is None:
            whole = pb.DeleteCollectionRequest(collection=collection)
            service.DeleteCollection(whole, timeout=_TIMEOUT_S, metadata=metadata)
        else:
            one = pb.DeleteDocumentRequest(collection=collection, document_id=document)
            service.DeleteDocument(one, timeout=_TIMEOUT_S, metadata=metadata)
    typer.echo(f"deleted {document or collection}")


@app.command()
@calls_server
def reindex(collection: CollectionName, *, server: ServerOptions) -> None:
    """Embeds a collection anew after the embedding model has changed. Interrupted, it may be run
    again and goes on."""
    from ailb.v1 import knowledge_service_pb2 as pb

    done = total = 0
    with _service(server) as (service, metadata), contextlib.ExitStack() as shown:
        bar: Any = None
        request = pb.ReindexCollectionRequest(collection=collection)
        for step in service.ReindexCollection(request, metadata=metadata):
            if bar is None:
                bar = shown.enter_context(
                    typer.progressbar(length=step.total, label="Embedding", file=sys.stderr)
                )
            bar.length = step.total
            bar.update(max(0, step.done - done))
            done, total = step.done, step.total
    typer.echo(f"embedded {done} of {total} passages")


@contextlib.contextmanager
def _service(server: ServerOptions) -> "Iterator[tuple[KnowledgeServiceStub, Metadata]]":
    with connected(server.target, server.api_key, tls=server.tls) as (channel, metadata):
        from ailb.v1.knowledge_service_pb2_grpc import KnowledgeServiceStub

        yield KnowledgeServiceStub(channel), metadata


def _find_collection(
    service: "KnowledgeServiceStub", metadata: Metadata, name: str, *, create: bool
) -> None:
    import grpc

    from ailb.v1 import knowledge_service_pb2 as pb

    try:
        service.GetCollection(
            pb.GetCollectionRequest(collection=name), timeout=_TIMEOUT_S, metadata=metadata
        )
    except grpc.RpcError as error:
        if not create or getattr(error, "code", lambda: None)() is not grpc.StatusCode.NOT_FOUND:
            raise
        service.CreateCollection(
            pb.CreateCollectionRequest(name=name), timeout=_TIMEOUT_S, metadata=metadata
        )


@contextlib.contextmanager
def _followed(tally: "Tally", files: int) -> Iterator[None]:
    """A progress bar, and at the end what became of the files; after Ctrl-C, how to go on."""
    started = time.monotonic()
    try:
        with _bar(tally, files):
            yield
    except KeyboardInterrupt:
        typer.echo(
            f"\nstopped: what was sent ({tally.sent} files) goes on being imported. Run the same"
            " command again for the rest.",
            err=True,
        )
        raise typer.Exit(130) from None
    empty = f", {tally.empty} empty" if tally.empty else ""
    typer.echo(
        f"{tally.imported} imported, {tally.unchanged} unchanged, {tally.failed} failed{empty};"
        f" {tally.passages} passages in {time.monotonic() - started:.1f} s"
    )


@contextlib.contextmanager
def _bar(tally: "Tally", length: int) -> Iterator[None]:
    """Shows how far the files are, how many failed, and how many a second."""
    started = time.monotonic()
    shown: Any = typer.progressbar(length=length, label="Importing", file=sys.stderr)

    with shown as bar:
        done = 0

        def told(more: int) -> None:
            nonlocal done
            done += more
            rate = done / max(time.monotonic() - started, 0.001)
            bar.label = f"Importing {done}/{length}, {tally.failed} failed, {rate:.1f}/s"
            bar.update(more)

        tally.told = told
        yield


def _complain(name: str, what: str) -> None:
    # On a terminal, the line is the progress bar's.
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    typer.echo(clear + harmless(f"ailb: {name}: {what}"), err=True)


def _show(message: "Message", line: str, *, as_json: bool) -> None:
    if not as_json:
        typer.echo(harmless(line))
        return
    from google.protobuf.json_format import MessageToDict

    fields = MessageToDict(message, preserving_proto_field_name=True)
    typer.echo(json.dumps(fields, ensure_ascii=False))
