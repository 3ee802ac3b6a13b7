"""`ailb.v1.KnowledgeService`: collections, their documents, searches."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol, TypeAlias

import grpc
from typing_extensions import override

from ailb.v1 import knowledge_service_pb2 as pb
from ailb.v1 import knowledge_service_pb2_grpc as pb_grpc
from ailb_server.api.call import current_call
from ailb_server.api.knowledge_fields import knowledge_query, new_collection
from ailb_server.api.knowledge_pages import page_start, page_token
from ailb_server.api.messages.knowledge import (
    collection_message,
    document_message,
    passage_message,
)
from ailb_server.api.page_token import checked_size
from ailb_server.domain.knowledge import Collection
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.ports import CatalogueStore
from ailb_server.knowledge.reindexing import Reindexing
from ailb_server.knowledge.retrieval import Retriever

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


class ImportCalls(Protocol):
    """The RPCs of imports; errors are raised for the edge to render."""

    async def import_documents(
        self, who: Principal, request: pb.ImportDocumentsRequest
    ) -> pb.ImportDocumentsResponse:
        """See `ImportDocuments` in the proto."""
        ...

    async def get_import(
        self, who: Principal, request: pb.GetImportRequest
    ) -> pb.GetImportResponse:
        """See `GetImport` in the proto."""
        ...

    def watch_import(
        self, who: Principal, request: pb.WatchImportRequest
    ) -> AsyncIterator[pb.WatchImportResponse]:
        """See `WatchImport` in the proto."""
        ...


class KnowledgeService(pb_grpc.KnowledgeServiceServicer):
    """Of the caller's tenant only; errors are raised for the edge to render."""

    def __init__(
        self,
        store: CatalogueStore,
        retriever: Retriever,
        reindexing: Reindexing,
        imports: ImportCalls,
    ) -> None:
        self._store = store
        self._retriever = retriever
        self._reindexing = reindexing
        self._imports = imports

    @override
    async def CreateCollection(
        self, request: pb.CreateCollectionRequest, context: Context
    ) -> pb.CreateCollectionResponse:
        """Of no embedding model yet: the first import tells it."""
        made = await self._store.create_collection(
            _tenant_of(request.name), new_collection(request)
        )
        return pb.CreateCollectionResponse(collection=collection_message(made))

    @override
    async def ListCollections(
        self, request: pb.ListCollectionsRequest, context: Context
    ) -> pb.ListCollectionsResponse:
        """Those that the caller's key may read. One more than the page is fetched, to know whether
        there is another page."""
        size, after = checked_size(request.page_size), page_start(request.page_token)
        who = current_call.get().principal
        found = await self._store.list_collections(who.tenant_id, after, size + 1)
        page = found[:size]
        return pb.ListCollectionsResponse(
            collections=[collection_message(one) for one in page if who.may_read(one.name)],
            next_page_token=page_token(page[-1].name) if len(found) > size else "",
        )

    @override
    async def GetCollection(
        self, request: pb.GetCollectionRequest, context: Context
    ) -> pb.GetCollectionResponse:
        """As it is now."""
        collection = await self._store.collection(
            _tenant_of(request.collection), request.collection
        )
        return pb.GetCollectionResponse(collection=collection_message(collection))

    @override
    async def DeleteCollection(
        self, request: pb.DeleteCollectionRequest, context: Context
    ) -> pb.DeleteCollectionResponse:
        """All of it or nothing."""
        await self._store.delete_collection(_tenant_of(request.collection), request.collection)
        return pb.DeleteCollectionResponse()

    @override
    async def ImportDocuments(
        self, request: pb.ImportDocumentsRequest, context: Context
    ) -> pb.ImportDocumentsResponse:
        """See `ImportCalls`."""
        current_call.get().principal.require_collection(request.collection)
        return await self._imports.import_documents(current_call.get().principal, request)

    @override
    async def GetImport(
        self, request: pb.GetImportRequest, context: Context
    ) -> pb.GetImportResponse:
        """See `ImportCalls`."""
        return await self._imports.get_import(current_call.get().principal, request)

    @override
    async def WatchImport(
        self, request: pb.WatchImportRequest, context: Context
    ) -> AsyncIterator[pb.WatchImportResponse]:
        """See `ImportCalls`."""
        async for told in self._imports.watch_import(current_call.get().principal, request):
            yield told

    @override
    async def ListDocuments(
        self, request: pb.ListDocumentsRequest, context: Context
    ) -> pb.ListDocumentsResponse:
        """By id."""
        size, after = checked_size(request.page_size), page_start(request.page_token)
        collection = await self._store.collection(
            _tenant_of(request.collection), request.collection
        )
        found = await self._store.list_documents(collection, after, size + 1)
        page = found[:size]
        return pb.ListDocumentsResponse(
            documents=map(document_message, page),
            next_page_token=page_token(page[-1].id) if len(found) > size else "",
        )

    @override
    async def GetDocument(
        self, request: pb.GetDocumentRequest, context: Context
    ) -> pb.GetDocumentResponse:
        """As it was imported last."""
        collection = await self._store.collection(
            _tenant_of(request.collection), request.collection
        )
        document = await self._store.document(collection, request.document_id)
        return pb.GetDocumentResponse(document=document_message(document))

    @override
    async def DeleteDocument(
        self, request: pb.DeleteDocumentRequest, context: Context
    ) -> pb.DeleteDocumentResponse:
        """With its passages."""
        collection = await self._store.collection(
            _tenant_of(request.collection), request.collection
        )
        await self._store.delete_document(collection, request.document_id)
        return pb.DeleteDocumentResponse()

    @override
    async def SearchPassages(
        self, request: pb.SearchPassagesRequest, context: Context
    ) -> pb.SearchPassagesResponse:
        """The best first."""
        tenant_id = _tenant_of(request.collection)
        found = await self._retriever.search(tenant_id, knowledge_query(request))
        return pb.SearchPassagesResponse(passages=map(passage_message, found.passages))

    @override
    async def ReindexCollection(
        self, request: pb.ReindexCollectionRequest, context: Context
    ) -> AsyncIterator[pb.ReindexCollectionResponse]:
        """Ends when the new vectors serve; a caller who leaves may ask again, and it goes on."""
        tenant_id = _tenant_of(request.collection)
        async with aclosing(self._reindexing.run(tenant_id, request.collection)) as progress:
            async for told in progress:
                yield pb.ReindexCollectionResponse(done=told.done, total=told.total)

    async def _found(self, name: str) -> Collection:
        return await self._store.collection(_tenant_of(name), name)


def _tenant_of(collection: str) -> int:
    """The caller's tenant. Raises PermissionDeniedError if its key may not use the collection."""
    who = current_call.get().principal
    who.require_collection(collection)
    return who.tenant_id
