"""Rows of collections and documents as values, and what a statement of theirs may meet."""

from collections.abc import Mapping

import orjson

from ailb_server.domain.chat import Json, JsonObject
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import NotFoundError
from ailb_server.domain.knowledge import Collection, DocumentRecord
from ailb_server.storage.connection import Row

COLLECTION_COLUMNS = """
id, tenant_id, name, description, embedding_model, embedding_dimension, embedding_normalised,
generation, next_model, next_dimension, next_normalised, chunk_size, chunk_overlap, version,
document_count, passage_count, created_at, updated_at
"""
DOCUMENT_COLUMNS = """
external_id, title, source, metadata, sha256, characters, passage_count, created_at, updated_at
"""


def collection_of(row: Row) -> Collection:
    """A row of COLLECTION_COLUMNS."""
    return Collection(
        id=row["id"],
        tenant_id=row["tenant_id"],
        name=row["name"],
        description=row["description"],
        space=_space(row, "embedding"),
        generation=row["generation"],
        chunk_size=row["chunk_size"],
        chunk_overlap=row["chunk_overlap"],
        version=row["version"],
        document_count=row["document_count"],
        passage_count=row["passage_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
        next_space=_space(row, "next"),
    )


def document_of(row: Row) -> DocumentRecord:
    """A row of DOCUMENT_COLUMNS."""
    return DocumentRecord(
        id=row["external_id"],
        title=row["title"],
        source=row["source"],
        metadata=json_object(row["metadata"]),
        sha256=row["sha256"],
        characters=row["characters"],
        passage_count=row["passage_count"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def json_object(text: str) -> JsonObject:
    """A jsonb column, which asyncpg gives as text."""
    value: JsonObject = orjson.loads(text)
    return value


def no_collection(name: str) -> NotFoundError:
    """For a name that the tenant has no collection of."""
    return NotFoundError(f"There is no collection `{name}`.", param="collection")


def no_document(document_id: str) -> NotFoundError:
    """For an id that the collection has no document of."""
    return NotFoundError(f"There is no document `{document_id}`.", param="document_id")


def storable(text: str) -> str:
    """The text without NUL, which Postgres's text cannot hold."""
    return text.replace("\x00", "")


def storable_json(value: Json) -> Json:
    """JSON whose strings hold no NUL, which jsonb refuses."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(name): storable_json(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value


def _space(row: Row, prefix: str) -> EmbeddingSpace | None:
    model = row[f"{prefix}_model"]
    if model is None:
        return None
    return EmbeddingSpace(model, row[f"{prefix}_dimension"], row[f"{prefix}_normalised"])
