"""What requests about knowledge must be like; each check names its field."""

import math
import re

from ailb.v1 import knowledge_service_pb2 as pb
from ailb_server.api.messages.structs import json_of
from ailb_server.domain.context import KnowledgeQuery
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.knowledge import NewCollection

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_MAX_DESCRIPTION = 1024
_CHUNK_SIZES = range(100, 8001)
_CHUNK_SIZE = 1000
_CHUNK_OVERLAP = 100
_MAX_QUERY = 8192
_MAX_FILTER_BYTES = 16_384
MAX_TOP_K = 50
_TOP_K = 3


def new_collection(request: pb.CreateCollectionRequest) -> NewCollection:
    """Raises InvalidRequestError."""
    if not _NAME.fullmatch(request.name):
        raise _invalid("name", "must be 1 to 64 letters, digits, `.`, `_` and `-`")
    if len(request.description) > _MAX_DESCRIPTION:
        raise _invalid("description", f"must be at most {_MAX_DESCRIPTION} characters")
    size = request.chunk_size or _CHUNK_SIZE
    if size not in _CHUNK_SIZES:
        raise _invalid("chunk_size", f"must be from {_CHUNK_SIZES[0]} to {_CHUNK_SIZES[-1]}")
    overlap = min(_CHUNK_OVERLAP, size // 2)
    if request.HasField("chunk_overlap"):
        overlap = request.chunk_overlap
    if overlap > size // 2:
        raise _invalid("chunk_overlap", f"must be at most half of `chunk_size`, {size // 2}")
    return NewCollection(request.name, request.description, chunk_size=size, chunk_overlap=overlap)


def knowledge_query(request: pb.SearchPassagesRequest) -> KnowledgeQuery:
    """Raises InvalidRequestError."""
    if not request.query.strip():
        raise _invalid("query", "is required")
    if len(request.query) > _MAX_QUERY:
        raise _invalid("query", f"must be at most {_MAX_QUERY} characters")
    if not 0 <= request.top_k <= MAX_TOP_K:
        raise _invalid("top_k", f"must be from 1 to {MAX_TOP_K}")
    if request.filter.ByteSize() > _MAX_FILTER_BYTES:
        raise _invalid("filter", f"must be at most {_MAX_FILTER_BYTES} bytes")
    floor = request.min_score if request.HasField("min_score") else None
    if floor is not None and not (math.isfinite(floor) and -1 <= floor <= 1):
        raise _invalid("min_score", "must be from -1 to 1")
    return KnowledgeQuery(
        collection=request.collection,
        text=request.query,
        top_k=request.top_k or _TOP_K,
        filter=json_of(request.filter, "filter"),
        min_score=floor,
    )


def _invalid(param: str, must: str) -> InvalidRequestError:
    return InvalidRequestError(f"`{param}` {must}.", param=param)
