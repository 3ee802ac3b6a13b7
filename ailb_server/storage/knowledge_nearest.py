"""The SQL of the nearest chunks of one collection."""

from ailb_server.domain.knowledge import Collection
from ailb_server.storage.knowledge_words import FILTERED, GATE

# A collection that may have an HNSW index is written as a number, or a generic plan could not tell
# that the index is of it.
LITERAL_ABOVE = 2500
# A filter that leaves at most so many chunks is searched exactly: HNSW finds too few of them.
EXACT_UP_TO = 20_000
_NEAREST = """
WITH near AS MATERIALIZED (
  SELECT v.chunk_id, {distance} AS distance
    FROM chunk_vectors v
   WHERE {gate} AND v.collection_id = {collection} AND v.generation = {generation}{filtered}
   ORDER BY {order} LIMIT $4
), named AS (
  SELECT v.chunk_id, {distance} AS distance
    FROM chunk_vectors v
   WHERE {gate} AND v.chunk_id = ANY($5::bigint[]) AND v.generation = {generation}
     AND v.collection_id = {collection}
     AND NOT EXISTS (SELECT FROM near WHERE near.chunk_id = v.chunk_id)
)
SELECT k.id, k.document_id, k.ordinal, 1 - found.distance AS similarity, found.nearest
  FROM (SELECT chunk_id, distance, true AS nearest FROM near
        UNION ALL SELECT chunk_id, distance, false FROM named) found
  JOIN chunks k ON k.id = found.chunk_id
 ORDER BY found.nearest DESC, found.distance, k.id
"""
_DISTANCE = "v.embedding::halfvec({dimension}) <=> $3::halfvec({dimension})"
# Driven by the documents, which are few here.
_OF_DOCUMENTS = """
 AND v.document_id IN (
   SELECT id FROM documents
    WHERE tenant_id = $1 AND collection_id = $2
      AND ARRAY[collection_id] @> ARRAY[$2::integer] AND metadata @> $6::jsonb)
"""
MATCHING = """
SELECT coalesce(sum(passage_count), 0) FROM documents
 WHERE tenant_id = $1 AND collection_id = $2
   AND ARRAY[collection_id] @> ARRAY[$2::integer] AND metadata @> $3::jsonb
"""


def nearest(collection: Collection, dimension: int, *, filtered: bool, exact: bool) -> str:
    """The nearest chunks, and the similarity of named ones: tenant, collection, vector, limit,
    ids[, filter]. `exact`: in any case without HNSW index."""
    distance = _DISTANCE.format(dimension=int(dimension))
    literal = collection.passage_count > LITERAL_ABOVE
    return _NEAREST.format(
        gate=GATE,
        distance=distance,
        collection=int(collection.id) if literal else "$2",
        generation=int(collection.generation),
        # No index is of a sum.
        order=f"({distance}) + 0" if exact else distance,
        filtered=_filtered(exact=exact) if filtered else "",
    )


def _filtered(*, exact: bool) -> str:
    return _OF_DOCUMENTS if exact else FILTERED.format(of="v", filter="$6")
