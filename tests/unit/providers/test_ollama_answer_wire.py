"""Answers that are malformed, errors, or odd. Good ones: the golden folders."""

from typing import Any

import orjson
import pytest

from ailb_server.domain.chat import ChatChunk
from ailb_server.providers.ollama_answer_wire import StreamReader, completion
from ailb_server.providers.ollama_line_wire import Mint
from ailb_server.providers.ollama_wire import MAX_MODELS, error_body, model_names
from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError
from tests.support.ollama_upstream import last_line, line, ndjson

_MINT = Mint(token=lambda: "t", now=lambda: 1000.5)


def _whole(answer: dict[str, Any]) -> ChatChunk:
    return completion(orjson.dumps(answer), "asked", _MINT)


def _call(**function: Any) -> dict[str, Any]:
    return last_line() | {"message": {"tool_calls": [{"function": function}]}}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"done":true',
        b'{"done":false}',
        b'{"done":true,"message":[]}',
        b'{"done":true,"message":{"content":1}}',
        b'{"done":true,"message":{"thinking":{}}}',
        b'{"done":true,"message":{"tool_calls":{}}}',
        b'{"done":true,"message":{"tool_calls":[1]}}',
        b'{"done":true,"message":{"tool_calls":[{}]}}',
        b'{"done":true,"message":{"tool_calls":[{"function":{"name":""}}]}}',
        b'{"done":true,"done_reason":1}',
        b'{"done":true,"logprobs":[{"token":"a"}]}',
        b'{"done":true,"message":{"tool_calls":[{"function":{"name":"f","arguments":'
        + b"[" * 500
        + b"]" * 500
        + b"}}]}}",
        ndjson([line("not done")]),
    ],
)
def test_a_malformed_answer(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        completion(body, "asked", _MINT)


def test_an_error_is_not_quoted() -> None:
    with pytest.raises(ErrorAnswerError) as raised:
        completion(b'{"error":"cannot say: secret"}', "asked", _MINT)
    assert "secret" not in str(raised.value)


def test_a_whole_answer_may_come_in_lines() -> None:
    chunk = completion(ndjson([line("Hel"), line("lo"), last_line()]), "asked", _MINT)
    assert chunk.events[0]["choices"][0]["message"]["content"] == "Hello"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("load", "stop"),
        ("unload", "stop"),
        ("", "stop"),
        ("news", "stop"),
        (None, "stop"),
    ],
)
def test_every_reason_is_one_of_openais(reason: str | None, finish: str) -> None:
    chunk = _whole(last_line() | {"done_reason": reason})
    assert chunk.events[0]["choices"][0]["finish_reason"] == finish


def test_a_call_cut_by_the_length_is_not_to_be_made() -> None:
    answer = _call(name="f") | {"done_reason": "length"}
    assert _whole(answer).events[0]["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(None, "{}"), ({}, "{}"), ('{"a": 1}', '{"a": 1}'), ({"a": 1}, '{"a":1}')],
)
def test_arguments_are_a_text(arguments: object, told: str) -> None:
    (call,) = _whole(_call(name="f", arguments=arguments)).events[0]["choices"][0]["message"][
        "tool_calls"
    ]
    assert call["function"]["arguments"] == told


@pytest.mark.parametrize(
    ("created_at", "created"),
    [
        ("2026-08-21T10:00:00Z", 1787306400),
        ("2026-08-21T03:00:00.999999999-07:00", 1787306400),
        ("0001-01-01T00:00:00Z", 1000),
        ("yesterday", 1000),
        (5, 1000),
        (None, 1000),
    ],
)
def test_created_is_created_at_or_now(created_at: object, created: int) -> None:
    assert _whole(last_line() | {"created_at": created_at}).events[0]["created"] == created


def test_the_model_is_the_one_asked_for_if_the_answer_does_not_say() -> None:
    assert _whole(last_line() | {"model": None}).events[0]["model"] == "asked"


def test_odd_counts_are_none() -> None:
    usage = _whole(last_line(prompt_eval_count=-1, eval_count="many")).usage
    assert usage is not None
    assert (usage.prompt, usage.completion) == (0, 0)


def test_nothing_is_read_after_the_last_line() -> None:
    reader = StreamReader("asked", include_usage=False, mint=_MINT)
    reader.read([orjson.dumps(last_line()), b"{"])
    assert reader.done
    assert reader.read([b"{"]) == ChatChunk((), b"")


def test_an_error_line_in_the_middle_comes_after_what_is_good() -> None:
    reader = StreamReader("asked", include_usage=False, mint=_MINT)
    good = orjson.dumps(line("a"))
    chunk = reader.read([good, b'{"error":"x"}', good])
    assert [c["choices"][0]["delta"]["content"] for c in chunk.events] == ["", "a"]
    assert isinstance(reader.fault, ErrorAnswerError)


def test_an_error_line_at_the_beginning() -> None:
    reader = StreamReader("asked", include_usage=False, mint=_MINT)
    with pytest.raises(ErrorAnswerError):
        reader.read([b'{"error":"x"}'])
    assert not reader.begun


def test_ids_are_not_repeated() -> None:
    body = orjson.dumps(last_line())
    ids = {completion(body, "m", Mint()).events[0]["id"] for _ in range(50)}
    assert len(ids) == 50


def test_errors_are_written_as_openai_does() -> None:
    assert orjson.loads(error_body(404, b'{"error":"model \'x\' not found"}')) == {
        "error": {
            "message": "model 'x' not found",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert orjson.loads(error_body(400, b'{"error":"no"}'))["error"]["code"] is None


@pytest.mark.parametrize("body", [b"", b"404 page not found", b"[]", b"1", b'{"error":{"a":1}}'])
def test_errors_of_another_shape_stay(body: bytes) -> None:
    assert error_body(404, body) == body


def test_models_are_named_as_listed() -> None:
    body = b'{"models":[{"name":"a","model":"a:latest"},{"name":"b"},{},1,{"name":7}]}'
    assert model_names(body) == ["a:latest", "b"]
    assert model_names(b'{"models":null}') == []
    many = orjson.dumps({"models": [{"name": str(i)} for i in range(MAX_MODELS + 1)]})
    assert len(model_names(many)) == MAX_MODELS


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"models":{}}'])
def test_a_listing_of_another_shape_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        model_names(body)
