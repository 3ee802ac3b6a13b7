"""Embeddings from the wire: betterproto2 itself takes 0.7 ms for 1536 numbers, this takes 0.02."""

import sys
from array import array

import betterproto2

from ailb_client._gen.ailb.v1 import CreateEmbeddingsResponse, Embedding

# By embedding_service.proto and embedding.proto.
_EMBEDDINGS = 1
_VALUES = 1


def embeddings_response(data: bytes) -> CreateEmbeddingsResponse:
    """`CreateEmbeddingsResponse.parse`, faster."""
    embeddings: list[Embedding] = []
    rest = bytearray()
    for field in betterproto2.parse_fields(data):
        if field.number == _EMBEDDINGS:
            embeddings.append(Embedding(values=_floats(field.value)))
        else:
            rest += field.raw
    response = CreateEmbeddingsResponse.parse(bytes(rest))
    response.embeddings = embeddings
    return response


def _floats(embedding: bytes) -> list[float]:
    # Joined, because protobuf lets a writer split a repeated field, packed or not.
    values = [f.value for f in betterproto2.parse_fields(embedding) if f.number == _VALUES]
    numbers = array("f", b"".join(values))
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tolist()
