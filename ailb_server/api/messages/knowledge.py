"""Knowledge as messages: collections, documents, passages."""

from ailb.v1 import knowledge_pb2
from ailb_server.api.messages.structs import struct_of
from ailb_server.api.messages.times import timestamp
from ailb_server.domain.knowledge import Collection, DocumentRecord
from ailb_server.knowledge.passages import Passage


def collection_message(collection: Collection) -> knowledge_pb2.Collection:
    """What a caller is told of a collection."""
    space = collection.space
    return knowledge_pb2.Collection(
        name=collection.name,
        description=collection.description,
        embedding_model=space.model if space else "",
        embedding_dimension=space.dimension if space else 0,
        chunk_size=collection.chunk_size,
        chunk_overlap=collection.chunk_overlap,
        document_count=collection.document_count,
        passage_count=collection.passage_count,
        version=collection.version,
        created_at=timestamp(collection.created_at),
        updated_at=timestamp(collection.updated_at),
    )


def document_message(document: DocumentRecord) -> knowledge_pb2.Document:
    """What a caller is told of a document."""
    return knowledge_pb2.Document(
        id=document.id,
        title=document.title,
        source=document.source,
        metadata=struct_of(dict(document.metadata)),
        sha256=document.sha256,
        passage_count=document.passage_count,
        characters=document.characters,
        created_at=timestamp(document.created_at),
        updated_at=timestamp(document.updated_at),
    )


def passage_message(passage: Passage) -> knowledge_pb2.Passage:
    """What a caller is told of a passage."""
    return knowledge_pb2.Passage(
        document_id=passage.document_id,
        title=passage.title,
        source=passage.source,
        metadata=struct_of(dict(passage.metadata)),
        text=passage.text,
        first_chunk=passage.first_chunk,
        last_chunk=passage.last_chunk,
        similarity=passage.similarity or 0.0,
        score=passage.score,
    )
