"""Which embedding and completion requests are refused at the door, and how."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from ailb_server.api.completion_wire import parse_completion_request
from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.domain.chat import OWN_FIELDS, ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError

_EMBEDDING: dict[str, Any] = {"model": "m", "input": "hi"}
_COMPLETION: dict[str, Any] = {"model": "m", "prompt": "hi"}
_BOTH = pytest.mark.parametrize(
    ("parse", "good"),
    [(parse_embedding_request, _EMBEDDING), (parse_completion_request, _COMPLETION)],
)
_Parse = Callable[[bytes], ChatRequest]


def _refused(parse: _Parse, body: bytes) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as raised:
        parse(body)
    return raised.value


@_BOTH
def test_a_small_request(parse: _Parse, good: dict[str, Any]) -> None:
    body = orjson.dumps(good)
    request = parse(body)
    assert (request.model, request.stream, request.include_usage) == ("m", False, False)
    assert request.body is body
    assert request.fields == good
    assert request.own_fields == frozenset()


@_BOTH
@pytest.mark.parametrize("name", sorted(OWN_FIELDS))
def test_own_fields_are_told_apart(parse: _Parse, good: dict[str, Any], name: str) -> None:
    assert parse(orjson.dumps({**good, name: None, "other": 1})).own_fields == {name}


@_BOTH
@pytest.mark.parametrize(
    ("body", "param"),
    [(b"", None), (b"{", None), (b"[]", None), (b"{}", "model"), (b'{"model":5}', "model")],
)
def test_what_no_operation_takes(
    parse: _Parse, good: dict[str, Any], body: bytes, param: str | None
) -> None:
    assert _refused(parse, body).facts.get("param") == param


def test_each_tells_its_operation() -> None:
    embedding = parse_embedding_request(orjson.dumps(_EMBEDDING))
    completion = parse_completion_request(orjson.dumps(_COMPLETION))
    assert (embedding.operation, completion.operation) == (
        Operation.EMBEDDING,
        Operation.COMPLETION,
    )


@pytest.mark.parametrize(
    "given",
    ["a", ["a"], ["a", "", "c"], [1], [0, 2**31], [[1], [2, 3]]],
)
def test_inputs(given: object) -> None:
    assert parse_embedding_request(orjson.dumps({"model": "m", "input": given})).model == "m"


@pytest.mark.parametrize(
    ("given", "param"),
    [
        (None, "input"),
        (5, "input"),
        (True, "input"),
        ({"text": "a"}, "input"),
        ("", "input"),
        ([], "input"),
        ([None], "input[0]"),
        ([True], "input[0]"),
        ([1, True], "input[0]"),
        ([1.5], "input[0]"),
        ([{"text": "a"}], "input[0]"),
        ([[]], "input[0]"),
        ([["a"]], "input[0]"),
        (["a", 1], "input[1]"),
        (["a", [1]], "input[1]"),
        ([[1], "a"], "input[1]"),
        ([[1], [2], [3, None]], "input[2]"),
        ([1, "a"], "input[0]"),
    ],
)
def test_inputs_that_are_none(given: object, param: str) -> None:
    body = orjson.dumps({"model": "m", "input": given})
    assert _refused(parse_embedding_request, body).facts["param"] == param
    assert _refused(parse_embedding_request, b'{"model":"m"}').facts["param"] == "input"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"dimensions": "5"}, "dimensions"),
        ({"dimensions": 5.0}, "dimensions"),
        ({"dimensions": True}, "dimensions"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": -1}, "dimensions"),
        ({"encoding_format": 5}, "encoding_format"),
        ({"user": 5}, "user"),
        ({"session_id": 5}, "session_id"),
    ],
)
def test_embedding_fields_of_another_type(fields: dict[str, Any], param: str) -> None:
    body = orjson.dumps({**_EMBEDDING, **fields})
    assert _refused(parse_embedding_request, body).facts["param"] == param


@pytest.mark.parametrize(
    "fields",
    [
        {"dimensions": None, "encoding_format": None, "user": None},
        {"dimensions": 1, "encoding_format": "binary", "user": "u", "input_type": ["x"]},
    ],
)
def test_what_is_the_providers_to_judge(fields: dict[str, Any]) -> None:
    assert parse_embedding_request(orjson.dumps({**_EMBEDDING, **fields})).fields["input"] == "hi"


def test_a_streamed_completion() -> None:
    options = {"stream": True, "stream_options": {"include_usage": True}}
    request = parse_completion_request(orjson.dumps({**_COMPLETION, **options}))
    assert (request.stream, request.include_usage) == (True, True)


@pytest.mark.parametrize("prompt", [None, "", [], ["a"], [1], [[1]]])
def test_prompts(prompt: object) -> None:
    assert parse_completion_request(orjson.dumps({"model": "m", "prompt": prompt})).model == "m"


@pytest.mark.parametrize(
    ("name", "value"),
    [("prompt", 5), ("prompt", {}), ("stream", 1), ("echo", "x"), ("best_of", True), ("n", "1")],
)
def test_completion_fields_of_another_type(name: str, value: object) -> None:
    body = orjson.dumps({**_COMPLETION, name: value})
    assert _refused(parse_completion_request, body).facts["param"] == name
