"""Embeddings at Ollama: what is sent, refused and ignored, and its answers in OpenAI's shape."""

import base64
import struct
from typing import Any

import orjson
import pytest

from ailb_server.api.embedding_wire import parse_embedding_request
from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.ollama_embedding_wire import EmbedRequest, embed_request, embeddings
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError


def _asked(given: Any = "a", **fields: Any) -> EmbedRequest:
    body = orjson.dumps({"model": "alias", "input": given, **fields})
    return embed_request(parse_embedding_request(body), "m:latest")


def _sent(given: Any = "a", **fields: Any) -> Any:
    return orjson.loads(_asked(given, **fields).body)


def _answer(*vectors: Any, **fields: Any) -> bytes:
    return orjson.dumps({"model": "m:latest", "embeddings": vectors, **fields})


@pytest.mark.parametrize(("given", "texts"), [("a", ["a"]), (["a", "", "b"], ["a", "", "b"])])
def test_texts_are_sent_and_not_cut(given: Any, texts: list[str]) -> None:
    assert _sent(given) == {"model": "m:latest", "input": texts, "truncate": False}


def test_what_ollama_knows_is_sent() -> None:
    known = {"dimensions": 64, "truncate": True, "keep_alive": "5m"}
    assert _sent(**known) == {"model": "m:latest", "input": ["a"], **known}
    assert _asked(**known).ignored == ()


def test_null_is_absent() -> None:
    names = ("dimensions", "encoding_format", "truncate", "keep_alive", "user")
    asked = _asked(**dict.fromkeys(names))
    assert orjson.loads(asked.body) == {"model": "m:latest", "input": ["a"], "truncate": False}
    assert (asked.ignored, asked.packed) == ((), False)


@pytest.mark.parametrize("given", [[1, 2], [[1], [2, 3]]])
def test_tokens_are_refused(given: Any) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _asked(given)
    assert refused.value.facts["param"] == "input"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("encoding_format", "int8"),
        ("truncate", "yes"),
        ("truncate", 1),
        ("keep_alive", True),
        ("keep_alive", {}),
    ],
)
def test_a_parameter_is_refused_by_its_name(name: str, value: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _asked(**{name: value})
    assert refused.value.facts["param"] == name


def test_the_rest_is_ignored_and_named() -> None:
    rest = {"user": "ann", "x": 1, "off": None, "rag_top_k": 3}
    assert _asked(**rest).ignored == ("user", "x")


def test_an_answer_is_openais_list() -> None:
    body = _answer([0.5, -1], [0.1, 2.0], prompt_eval_count=7)
    chunk = embeddings(body, _asked(["a", "b"], encoding_format="float"))
    expected = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.5, -1]},
            {"object": "embedding", "index": 1, "embedding": [0.1, 2.0]},
        ],
        "model": "m:latest",
        "usage": {"prompt_tokens": 7, "total_tokens": 7},
    }
    assert list(chunk.events) == [expected]
    assert orjson.loads(chunk.wire) == expected
    assert chunk.usage == TokenUsage(prompt=7)


def test_base64_is_little_endian_float32() -> None:
    chunk = embeddings(_answer([0.1, -2, 1e-9]), _asked(encoding_format="base64"))
    packed = base64.b64decode(orjson.loads(chunk.wire)["data"][0]["embedding"], validate=True)
    assert packed == struct.pack("<3f", 0.1, -2, 1e-9)


@pytest.mark.parametrize("count", [None, -1, True, "7", []])
def test_a_count_that_is_none_is_zero(count: object) -> None:
    assert embeddings(_answer([1.0], prompt_eval_count=count), _asked()).usage == TokenUsage()


def test_an_answer_without_a_model_has_the_one_asked() -> None:
    (event,) = embeddings(b'{"embeddings":[[1.0]]}', _asked()).events
    assert event["model"] == "m:latest"


@pytest.mark.parametrize("encoding", ["float", "base64"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"embeddings":{}}',
        _answer(),
        _answer([1.0], [1.0]),
        _answer([]),
        _answer("AAAA"),
        _answer([True]),
        _answer([None]),
        _answer([[1.0]]),
    ],
)
def test_a_malformed_answer(body: bytes, encoding: str) -> None:
    with pytest.raises(MalformedAnswerError):
        embeddings(body, _asked(encoding_format=encoding))


def test_a_number_beyond_float32_is_malformed() -> None:
    with pytest.raises(MalformedAnswerError):
        embeddings(_answer([1e300]), _asked(encoding_format="base64"))


def test_an_error_in_a_success_does_not_quote_it() -> None:
    with pytest.raises(ErrorAnswerError) as told:
        embeddings(b'{"error":"secret prompt"}', _asked())
    assert "secret" not in str(told.value)
