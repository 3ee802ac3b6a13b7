"""The RPCs of imports: messages to values and back."""

from collections.abc import AsyncIterator
from contextlib import aclosing

from ailb.v1 import knowledge_pb2
from ailb.v1 import knowledge_service_pb2 as pb
from ailb_server.api.messages.structs import json_of
from ailb_server.api.messages.times import timestamp
from ailb_server.domain.imports import ImportStatus
from ailb_server.domain.principal import Principal
from ailb_server.knowledge.importing import DocumentInput, Importing


class ImportRpcs:
    """What `KnowledgeService` hands on; errors are raised for the edge to render."""

    def __init__(self, importing: Importing) -> None:
        self._importing = importing

    async def import_documents(
        self, who: Principal, request: pb.ImportDocumentsRequest
    ) -> pb.ImportDocumentsResponse:
        """Returns once they are stored for the workers."""
        documents = [document_input(d, i) for i, d in enumerate(request.documents)]
        status = await self._importing.start(who, request.collection, documents)
        return pb.ImportDocumentsResponse(job=import_message(status))

    async def get_import(
        self, who: Principal, request: pb.GetImportRequest
    ) -> pb.GetImportResponse:
        """As it is now."""
        status = await self._importing.status(who, request.import_id)
        who.require_collection(status.collection)
        return pb.GetImportResponse(job=import_message(status))

    async def watch_import(
        self, who: Principal, request: pb.WatchImportRequest
    ) -> AsyncIterator[pb.WatchImportResponse]:
        """Until it has finished."""
        async with aclosing(self._importing.watch(who, request.import_id)) as watched:
            async for status in watched:
                who.require_collection(status.collection)
                yield pb.WatchImportResponse(job=import_message(status))


def document_input(message: knowledge_pb2.DocumentInput, index: int) -> DocumentInput:
    """A document as its caller wrote it. Raises InvalidRequestError for numbers that JSON lacks."""
    body = message.WhichOneof("body")
    return DocumentInput(
        id=message.id,
        body=getattr(message, body) if body else None,
        title=message.title,
        source=message.source,
        metadata=json_of(message.metadata, f"documents[{index}].metadata"),
        content_type=message.content_type,
    )


def import_message(status: ImportStatus) -> knowledge_pb2.Import:
    """What a caller is told of an import."""
    finished = status.finished_at
    return knowledge_pb2.Import(
        id=status.id,
        collection=status.collection,
        state=(
            knowledge_pb2.IMPORT_STATE_FINISHED if finished else knowledge_pb2.IMPORT_STATE_RUNNING
        ),
        total=status.total,
        imported=status.imported,
        unchanged=status.unchanged,
        failed=status.failed,
        failures=[
            knowledge_pb2.ImportFailure(document_id=f.document_id, reason=f.reason)
            for f in status.failures
        ],
        passages=status.passages,
        created_at=timestamp(status.created_at),
        finished_at=timestamp(finished) if finished else None,
    )
