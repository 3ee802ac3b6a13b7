"""Typed embeddings and OpenAI's shape."""

import base64
import struct
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import embedding_pb2 as pb
from ailb_server.api.messages import embedding_request, embeddings_response
from ailb_server.domain.chat import Operation
from ailb_server.domain.errors import InvalidRequestError

_FLOATS = st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=300)


def _base64(numbers: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def _answer(*embeddings: object) -> dict[str, Any]:
    return {
        "data": [{"index": index, "embedding": e} for index, e in enumerate(embeddings)],
        "model": "m-1",
        "usage": {"prompt_tokens": 3, "total_tokens": 4},
    }


def test_a_request_as_a_rest_caller_writes_it() -> None:
    parameters = pb.EmbeddingParameters(model="m", inputs=["a", ""], dimensions=5, user="u")
    parameters.additional_parameters.update({"input_type": "query", "session_id": "s"})
    request = embedding_request(parameters)
    assert request.fields == {
        "model": "m",
        "input": ["a", ""],
        "encoding_format": "base64",
        "dimensions": 5,
        "user": "u",
        "input_type": "query",
        "session_id": "s",
    }
    assert request.operation is Operation.EMBEDDING
    assert request.own_fields == {"session_id"}


def test_tokens() -> None:
    lists = [pb.TokenList(tokens=[1, 2**32 - 1]), pb.TokenList(tokens=[0])]
    request = embedding_request(pb.EmbeddingParameters(model="m", token_inputs=lists))
    assert request.fields["input"] == [[1, 2**32 - 1], [0]]


def test_another_encoding_may_be_asked_for() -> None:
    parameters = pb.EmbeddingParameters(model="m", inputs=["a"])
    parameters.additional_parameters.update({"encoding_format": "float"})
    assert embedding_request(parameters).fields["encoding_format"] == "float"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "m"}, "inputs"),
        ({"inputs": ["a"]}, "model"),
        ({"model": "m", "inputs": ["a"], "dimensions": 0}, "dimensions"),
        ({"model": "m", "inputs": ["a"], "token_inputs": [pb.TokenList()]}, "token_inputs"),
        ({"model": "m", "token_inputs": [pb.TokenList()]}, "token_inputs[0].tokens"),
    ],
)
def test_requests_that_are_none(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as raised:
        embedding_request(pb.EmbeddingParameters(**fields))
    assert raised.value.facts["param"] == param


@pytest.mark.parametrize("name", ["input", "inputs", "token_inputs", "model", "dimensions"])
def test_what_has_a_field_is_not_additional(name: str) -> None:
    extra = Struct()
    extra.update({name: "x"})
    parameters = pb.EmbeddingParameters(model="m", inputs=["a"], additional_parameters=extra)
    with pytest.raises(InvalidRequestError) as raised:
        embedding_request(parameters)
    assert raised.value.facts["param"] == name


@given(st.lists(_FLOATS, min_size=1, max_size=3))
def test_base64_and_numbers_say_the_same(vectors: list[list[float]]) -> None:
    numbers = embeddings_response(_answer(*vectors), len(vectors))
    packed = embeddings_response(_answer(*map(_base64, vectors)), len(vectors))
    assert packed == numbers
    assert packed.SerializeToString() == numbers.SerializeToString()
    assert [list(e.values) for e in packed.embeddings] == vectors


def test_what_is_told_beside_the_embeddings() -> None:
    response = embeddings_response(_answer([1.0]), 1)
    assert response.model == "m-1"
    assert (response.usage.prompt_tokens, response.usage.total_tokens) == (3, 4)
    silent = embeddings_response({"data": [{"embedding": [1]}]}, 1)
    assert silent.model == ""
    assert not silent.HasField("usage")


def test_embeddings_come_in_the_inputs_order() -> None:
    answer = _answer([1.0], [2.0])
    answer["data"].reverse()
    assert [e.values[0] for e in embeddings_response(answer, 2).embeddings] == [1, 2]
    for item in answer["data"]:
        del item["index"]
    assert [e.values[0] for e in embeddings_response(answer, 2).embeddings] == [2, 1]


@pytest.mark.parametrize(
    "embedding",
    [None, 5, {}, [], "", ["x"], [None], [[1.0]], "%%%%", "AAAA", "AAAAAA=", "é", {"a": 1}],
)
def test_an_embedding_that_is_none(embedding: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        embeddings_response(_answer(embedding), 1)


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"data": None},
        {"data": []},
        {"data": [[1.0]]},
        {"data": [{"index": 0}]},
        {"data": [{"index": 1, "embedding": [1.0]}]},
        _answer([1.0], [2.0]),
    ],
)
def test_an_answer_without_an_embedding_for_each_input(answer: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        embeddings_response(answer, 1)
