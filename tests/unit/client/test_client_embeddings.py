"""Embeddings by the client, and its own reading of them."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

import ailb_client
from ailb.v1 import embedding_pb2, embedding_service_pb2
from ailb_client import CreateEmbeddingsResponse, EmbeddingParameters, TokenList
from ailb_client.embeddings import embeddings_response
from tests.unit.client.double import AilbDouble

_TENTH = struct.unpack("<f", struct.pack("<f", 0.1))[0]
_VECTORS = st.lists(st.lists(st.floats(width=32, allow_nan=False), max_size=40), max_size=4)


async def test_texts_become_vectors(ailb: ailb_client.Client, double: AilbDouble) -> None:
    assert await ailb.embed(["a", "", "ccc"], model="echo", dimensions=2) == [
        [1, _TENTH],
        [0, _TENTH],
        [3, _TENTH],
    ]
    (sent,) = double.embeddings
    assert (sent.model, list(sent.inputs), sent.dimensions) == ("echo", ["a", "", "ccc"], 2)


async def test_one_text_is_one_vector(ailb: ailb_client.Client, double: AilbDouble) -> None:
    assert await ailb.embed("ab", model="echo") == [[2, _TENTH]]
    assert not double.embeddings[0].HasField("dimensions")


async def test_every_other_parameter_goes_with_create_embeddings(
    ailb: ailb_client.Client, double: AilbDouble
) -> None:
    parameters = EmbeddingParameters(model="echo", token_inputs=[TokenList([1, 2])], user="u")
    answer = await ailb.create_embeddings(parameters, timeout_s=5)
    assert [list(t.tokens) for t in double.embeddings[0].token_inputs] == [[1, 2]]
    assert double.embeddings[0].user == "u"
    assert answer.response.model == "echo-2026"
    assert answer.response.usage == ailb_client.EmbeddingUsage(prompt_tokens=3, total_tokens=3)
    assert (answer.served.provider, answer.served.request_id) == ("double", "request-1")


async def test_an_error_is_raised(ailb: ailb_client.Client) -> None:
    with pytest.raises(ailb_client.AilbError) as raised:
        await ailb.embed("a", model="limited")
    assert raised.value.reason == "RATE_LIMIT_EXCEEDED"


@given(_VECTORS, st.sampled_from(["", "m"]))
def test_it_reads_what_betterproto_reads(vectors: list[list[float]], model: str) -> None:
    response = embedding_service_pb2.CreateEmbeddingsResponse(
        embeddings=[embedding_pb2.Embedding(values=vector) for vector in vectors],
        model=model,
        usage=embedding_pb2.EmbeddingUsage(prompt_tokens=len(model)),
    )
    data = response.SerializeToString()
    read = embeddings_response(data)
    assert read == CreateEmbeddingsResponse.parse(data)
    assert [embedding.values for embedding in read.embeddings] == vectors
    assert bytes(read) == bytes(CreateEmbeddingsResponse.parse(data))


def test_numbers_may_come_unpacked_and_in_pieces() -> None:
    packed = b"\x0a\x04" + struct.pack("<f", 1.5)
    unpacked = b"\x0d" + struct.pack("<f", 2.5)
    unknown = b"\x50\x01"
    embedding = packed + unknown + unpacked + packed
    read = embeddings_response(b"\x0a" + bytes([len(embedding)]) + embedding)
    assert read.embeddings[0].values == [1.5, 2.5, 1.5]
