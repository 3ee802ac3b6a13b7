"""A collection's vectors and an embedder that do not go together."""

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import EmbeddingMismatchError
from ailb_server.knowledge.values import Collection


def mismatch(collection: Collection, configured: EmbeddingSpace) -> EmbeddingMismatchError:
    """For a collection of another space than the configured embedder's."""
    return EmbeddingMismatchError(
        f"The collection `{collection.name}` was embedded by {_named(collection.space)}, but the"
        f" configured model is {_named(configured)}. Run `ailb rag reindex {collection.name}`, or"
        " configure the former model.",
        collection=collection.name,
    )


def _named(space: EmbeddingSpace | None) -> str:
    if space is None:
        return "no model"
    length = "" if space.normalised else ", not normalised"
    return f"{space.model} ({space.dimension} dimensions{length})"
