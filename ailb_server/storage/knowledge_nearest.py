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
)
SELECT k.id, k.document_id, k.ordinal, 1 - near.distance AS similarity
  FROM near JOIN chunks k ON k.id = near.chunk_id
 ORDER BY near.distance, k.id
"""
_SIMILARITIES = """
SELECT v.chunk_id, 1 - ({distance}) AS similarity
  FROM chunk_vectors v
 WHERE {gate} AND v.chunk_id = ANY($4::bigint[]) AND v.generation = {generation}
   AND v.collection_id = $2
"""
_DISTANCE = "v.embedding::halfvec({dimension}) <=> $3::halfvec({dimension})"
# Driven by the documents, which are few here.
_OF_DOCUMENTS = """
 AND v.document_id IN (
   SELECT id FROM documents
    WHERE tenant_id = $1 AND collection_id = $2
      AND ARRAY[collection_id] @> ARRAY[$2::integer] AND metadata @> $5::jsonb)
"""
MATCHING = """
SELECT coalesce(sum(passage_count), 0) FROM documents
 WHERE tenant_id = $1 AND collection_id = $2
   AND ARRAY[collection_id] @> ARRAY[$2::integer] AND metadata @> $3::jsonb
"""


def nearest(collection: Collection, dimension: int, *, filtered: bool, exact: bool) -> str:
    """The nearest chunks: tenant, collection, vector, limit[, filter]. `exact`: in any case
    without HNSW index."""
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


def similarities(collection: Collection, dimension: int) -> str:
    """Those of named chunks: tenant, collection, vector, ids."""
    distance = _DISTANCE.format(dimension=int(dimension))
    return _SIMILARITIES.format(gate=GATE, distance=distance, generation=int(collection.generation))


def _filtered(*, exact: bool) -> str:
    return _OF_DOCUMENTS if exact else FILTERED.format(of="v", filter="$5")
