"""The values of `ports`, by their former place."""

from ailb_server.domain.knowledge import (
    Collection,
    DocumentRecord,
    NewChunk,
    NewCollection,
    NewDocument,
)

__all__ = ["Collection", "DocumentRecord", "NewChunk", "NewCollection", "NewDocument"]
