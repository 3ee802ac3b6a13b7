"""KnowledgeService over gRPC: what callers see, what is refused, and whose it is."""

from collections.abc import AsyncIterator
from functools import partial

import grpc
import pytest
from google.protobuf.struct_pb2 import Struct

from ailb.v1 import knowledge_service_pb2 as pb
from ailb.v1 import knowledge_service_pb2_grpc as pb_grpc
from ailb_server.api.edge import Edge
from ailb_server.api.knowledge_service import KnowledgeService
from ailb_server.api.messages.structs import struct_of
from ailb_server.domain.chat import Json
from ailb_server.domain.errors import NotImplementedHereError
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.server import GrpcServer
from ailb_server.storage.knowledge_indexes import VectorIndexes
from ailb_server.storage.pool import Store
from tests.integration.api_core.conftest import error_info
from tests.integration.knowledge.conftest import OTHER, Shelf


class NoImports:
    """Imports have tests of their own."""

    async def import_documents(
        self, who: Principal, request: pb.ImportDocumentsRequest
    ) -> pb.ImportDocumentsResponse:
        raise NotImplementedHereError(f"for tenant {who.tenant_id}")

    async def get_import(
        self, who: Principal, request: pb.GetImportRequest
    ) -> pb.GetImportResponse:
        raise NotImplementedHereError(f"for tenant {who.tenant_id}")

    async def watch_import(
        self, who: Principal, request: pb.WatchImportRequest
    ) -> AsyncIterator[pb.WatchImportResponse]:
        yield pb.WatchImportResponse()
        raise NotImplementedHereError(f"for tenant {who.tenant_id}")


@pytest.fixture
async def service(
    shelf: Shelf, store: Store, migrated_dsn: str
) -> AsyncIterator["pb_grpc.KnowledgeServiceAsyncStub"]:
    indexes = VectorIndexes(store, migrated_dsn)
    served = KnowledgeService(
        shelf.rows, shelf.retriever(), Reindexing(shelf.rows, shelf.embedder, indexes), NoImports()
    )
    register = partial(pb_grpc.add_KnowledgeServiceServicer_to_server, served)
    server = GrpcServer(Edge(10), (register,), max_calls=10)
    port = await server.start("127.0.0.1", 0)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield pb_grpc.KnowledgeServiceStub(channel)
    await server.stop()


def struct(**members: Json) -> Struct:
    return struct_of(members)


async def refused(call: object) -> tuple[grpc.StatusCode, str, str]:
    """The code, the reason and the param of a call that fails."""
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call  # type: ignore[misc]
    info = error_info(failed.value)
    return failed.value.code(), info.reason, info.metadata.get("param", "")


async def test_collections(service: "pb_grpc.KnowledgeServiceAsyncStub") -> None:
    asked = pb.CreateCollectionRequest(name="docs", description="Ours", chunk_size=150)
    made = (await service.CreateCollection(asked)).collection
    assert (made.chunk_size, made.chunk_overlap, made.embedding_model) == (150, 75, "")
    again = await refused(service.CreateCollection(asked))
    assert again == (grpc.StatusCode.ALREADY_EXISTS, "ALREADY_EXISTS", "name")
    for name in ("a", "b"):
        await service.CreateCollection(pb.CreateCollectionRequest(name=name))
    first = await service.ListCollections(pb.ListCollectionsRequest(page_size=2))
    assert [c.name for c in first.collections] == ["a", "b"]
    rest = pb.ListCollectionsRequest(page_size=2, page_token=first.next_page_token)
    second = await service.ListCollections(rest)
    assert [c.name for c in second.collections] == ["docs"]
    assert second.next_page_token == ""


async def test_documents(service: "pb_grpc.KnowledgeServiceAsyncStub", shelf: Shelf) -> None:
    docs = await shelf.make()
    for id_ in ("x/y", "z"):
        await shelf.put(docs, id_, "apple", lang="en", n=2)
    listed = await service.ListDocuments(pb.ListDocumentsRequest(collection="docs", page_size=1))
    assert [d.id for d in listed.documents] == ["x/y"]
    token = listed.next_page_token
    listed = await service.ListDocuments(
        pb.ListDocumentsRequest(collection="docs", page_token=token)
    )
    assert [d.id for d in listed.documents] == ["z"]
    named = pb.GetDocumentRequest(collection="docs", document_id="x/y")
    got = (await service.GetDocument(named)).document
    assert (got.title, got.passage_count, got.metadata["n"]) == ("Title of x/y", 1, 2)
    await service.DeleteDocument(pb.DeleteDocumentRequest(collection="docs", document_id="x/y"))
    missing = await refused(service.GetDocument(named))
    assert missing == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "document_id")
    found = (await service.GetCollection(pb.GetCollectionRequest(collection="docs"))).collection
    assert (found.document_count, found.embedding_model, found.embedding_dimension) == (
        *(1, "hashing"),
        64,
    )
    await service.DeleteCollection(pb.DeleteCollectionRequest(collection="docs"))
    gone = await refused(service.GetCollection(pb.GetCollectionRequest(collection="docs")))
    assert gone == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "collection")


async def test_searches_and_reindexes(
    service: "pb_grpc.KnowledgeServiceAsyncStub", shelf: Shelf
) -> None:
    docs = await shelf.make()
    await shelf.put(docs, "a", "apple", lang="en")
    await shelf.put(docs, "b", "apple pear", lang="de")
    asked = pb.SearchPassagesRequest(collection="docs", query="apple", filter=struct(lang="de"))
    (passage,) = (await service.SearchPassages(asked)).passages
    assert (passage.document_id, passage.text, passage.metadata["lang"]) == (
        *("b", "apple pear"),
        "de",
    )
    assert 0 < passage.similarity < 1
    told = service.ReindexCollection(pb.ReindexCollectionRequest(collection="docs"))
    assert [(p.done, p.total) async for p in told][-1] == (2, 2)


@pytest.mark.parametrize(
    ("param", "request_"),
    [
        ("name", pb.CreateCollectionRequest(name="")),
        ("name", pb.CreateCollectionRequest(name="a b")),
        ("name", pb.CreateCollectionRequest(name="x" * 65)),
        ("description", pb.CreateCollectionRequest(name="a", description="x" * 1025)),
        ("chunk_size", pb.CreateCollectionRequest(name="a", chunk_size=99)),
        ("chunk_size", pb.CreateCollectionRequest(name="a", chunk_size=8001)),
        ("chunk_overlap", pb.CreateCollectionRequest(name="a", chunk_overlap=501)),
        ("page_size", pb.ListCollectionsRequest(page_size=1001)),
        ("page_size", pb.ListCollectionsRequest(page_size=-1)),
        ("page_token", pb.ListCollectionsRequest(page_token="?")),
        ("page_token", pb.ListDocumentsRequest(collection="docs", page_token="/w==")),
        ("query", pb.SearchPassagesRequest(collection="docs", query=" ")),
        ("query", pb.SearchPassagesRequest(collection="docs", query="x" * 8193)),
        ("top_k", pb.SearchPassagesRequest(collection="docs", query="x", top_k=51)),
        ("top_k", pb.SearchPassagesRequest(collection="docs", query="x", top_k=-1)),
        ("min_score", pb.SearchPassagesRequest(collection="docs", query="x", min_score=1.1)),
        (
            "min_score",
            pb.SearchPassagesRequest(collection="docs", query="x", min_score=float("nan")),
        ),
        (
            "filter",
            pb.SearchPassagesRequest(collection="docs", query="x", filter=struct(a="x" * 20000)),
        ),
    ],
)
async def test_what_does_not_fit_is_refused(
    service: "pb_grpc.KnowledgeServiceAsyncStub", param: str, request_: object
) -> None:
    method = type(request_).__name__.removesuffix("Request")
    answer = await refused(getattr(service, method)(request_))
    assert answer == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", param)


async def test_every_rpc_of_another_tenant_finds_nothing(
    service: "pb_grpc.KnowledgeServiceAsyncStub", shelf: Shelf
) -> None:
    theirs = Shelf(shelf.rows, shelf.embedder, OTHER)
    await theirs.put(await theirs.make("theirs"), "a", "apple")
    assert not (await service.ListCollections(pb.ListCollectionsRequest())).collections
    requests = (
        pb.GetCollectionRequest(collection="theirs"),
        pb.DeleteCollectionRequest(collection="theirs"),
        pb.ListDocumentsRequest(collection="theirs"),
        pb.GetDocumentRequest(collection="theirs", document_id="a"),
        pb.DeleteDocumentRequest(collection="theirs", document_id="a"),
        pb.SearchPassagesRequest(collection="theirs", query="apple"),
    )
    for request in requests:
        method = type(request).__name__.removesuffix("Request")
        answer = await refused(getattr(service, method)(request))
        assert answer == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "collection")
    told = service.ReindexCollection(pb.ReindexCollectionRequest(collection="theirs"))
    assert (await refused(told.read()))[0] == grpc.StatusCode.NOT_FOUND
    assert (await theirs.rows.collection(OTHER, "theirs")).document_count == 1


async def test_imports_are_passed_on(service: "pb_grpc.KnowledgeServiceAsyncStub") -> None:
    for call in (
        service.ImportDocuments(pb.ImportDocumentsRequest()),
        service.GetImport(pb.GetImportRequest()),
    ):
        assert (await refused(call))[0] == grpc.StatusCode.UNIMPLEMENTED
    told = service.WatchImport(pb.WatchImportRequest())
    assert await told.read() == pb.WatchImportResponse()
    assert (await refused(told.read()))[0] == grpc.StatusCode.UNIMPLEMENTED
