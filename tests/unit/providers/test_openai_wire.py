"""What is sent to an upstream, and what is read of a whole answer."""

from contextlib import nullcontext
from dataclasses import replace

import orjson
import pytest

from ailb_server.api.anthropic_wire_request import parse_messages_request
from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import Json, Operation, TokenUsage
from ailb_server.providers.openai_usage import usage_of
from ailb_server.providers.openai_wire import (
    ErrorAnswerError,
    MalformedAnswerError,
    completion,
    translated_body,
    upstream_body,
    whole_answer,
)
from tests.unit.doubles import chat

_MESSAGES = b'"messages":[{"role":"user","content":"model"}]'


def _sent(members: bytes, model: str = "m") -> bytes:
    return upstream_body(parse_chat_request(b"{" + members + b"," + _MESSAGES + b"}"), model)


@pytest.mark.parametrize(
    "members",
    [
        b'"model":"m","x":1e3',
        b'"model":"m","stream":false',
        b'"stream":true,"model":"m","stream_options":{ "include_usage" : true }',
    ],
)
def test_what_needs_no_edit_is_sent_as_it_came(members: bytes) -> None:
    request = parse_chat_request(b"{" + members + b" , " + _MESSAGES + b"}\n")
    assert upstream_body(request, "m") is request.body


def test_the_providers_name_of_the_model_replaces_the_callers() -> None:
    sent = _sent(b'"x":0.10, "model":"alias", "model_x":1', model="vendor/m")
    assert sent == b'{"x":0.10,"model":"vendor/m","model_x":1,' + _MESSAGES + b"}"


def test_own_fields_are_taken_out() -> None:
    sent = _sent(
        b'"model":"m","session_id":"s","rag_collection":"c","rag_top_k":3,'
        b'"rag_filter":{"session_id":1},"rag_min_score":0.5,"user":"u"'
    )
    assert sent == b'{"model":"m","user":"u",' + _MESSAGES + b"}"


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        (b"", {"include_usage": True}),
        (b'"stream_options":null,', {"include_usage": True}),
        (b'"stream_options":{},', {"include_usage": True}),
        (b'"stream_options":{"include_usage":false},', {"include_usage": True}),
        (b'"stream_options":{"x":1e3},', {"x": 1000.0, "include_usage": True}),
        (b'"stream_options":{"x":1,"include_usage":true},', {"x": 1, "include_usage": True}),
    ],
)
@pytest.mark.parametrize("model", ["m", "vendor/m"])
def test_streams_ask_for_usage(options: bytes, wanted: Json, model: str) -> None:
    sent = _sent(options + b'"stream":true,"model":"m"', model)
    assert orjson.loads(sent)["stream_options"] == wanted
    assert orjson.loads(sent)["model"] == model
    assert sent.count(b'"stream_options"') == 1


def test_answers_that_do_not_stream_are_not_asked_for_usage() -> None:
    assert b"stream_options" not in _sent(b'"model":"a"')


def test_a_completion_keeps_its_bytes_and_tells_usage() -> None:
    body = b'{ "choices": [{"message":{}}], "usage": {"prompt_tokens": 3, "x": 1e3} }\n'
    chunk = completion(body)
    assert chunk.wire is body
    assert chunk.events == (orjson.loads(body),)
    assert chunk.usage == TokenUsage(prompt=3)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'"x"',
        b'{"choices":null}',
        b'{"choices":[]}',
        b'{"choices":["x",5]}',
        b'{"choices":[{}]}',
        b'{"choices":[{"message":null}]}',
        b'{"choices":[{"message":{}},{"message":"x"}]}',
    ],
)
def test_a_malformed_completion_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        completion(body)


def test_the_older_completions_say_a_text() -> None:
    assert completion(b'{"choices":[{"text":""}]}', Operation.COMPLETION).events
    for body in (b'{"choices":[]}', b'{"choices":[{"message":{}}]}', b'{"choices":[{"text":1}]}'):
        with pytest.raises(MalformedAnswerError):
            completion(body, Operation.COMPLETION)


_CALL = '{"id":"c","type":"function","function":{"name":"f","arguments":"%s"}}'


@pytest.mark.parametrize(
    ("message", "fits"),
    [
        ('{"content":"x","tool_calls":null}', True),
        ('{"content":null,"tool_calls":[%s]}' % (_CALL % ""), True),
        ('{"tool_calls":[%s]}' % (_CALL % '{\\"a\\":'), True),
        ('{"tool_calls":[%s]}' % (_CALL % "[1]"), False),
        ('{"tool_calls":[%s]}' % (_CALL % "oops"), False),
        ('{"tool_calls":[{"function":{"name":"f","arguments":{}}}]}', False),
        ('{"tool_calls":[{"function":{"arguments":"{}"}}]}', False),
        ('{"tool_calls":["x"]}', False),
        ('{"tool_calls":{}}', False),
        ('{"thinking_blocks":{}}', False),
        ('{"content":[{"type":"text","text":"x"}]}', False),
        ('{"reasoning":1}', False),
    ],
)
def test_what_is_translated_must_be_of_the_formats_types(message: str, *, fits: bool) -> None:
    body = b'{"choices":[{"message":%b}]}' % message.encode()
    assert whole_answer(body, chat()).wire == body
    with nullcontext() if fits else pytest.raises(MalformedAnswerError):
        whole_answer(body, replace(chat(), wire="anthropic"))


@pytest.mark.parametrize(
    ("given", "data", "fits"),
    [
        ("a", '[{"embedding":[1]}]', True),
        ([1, 2, 3], '[{"embedding":"AAAA"}]', True),
        (["a", "b"], '[{"embedding":[1]},{"embedding":[1]}]', True),
        ([[1], [2, 3]], '[{"embedding":[1]},{"embedding":[1]}]', True),
        (["a", "b"], "[]", False),
        (["a", "b"], '[{"embedding":[1]}]', False),
        ("a", '[{"embedding":[1]},{"embedding":[1]}]', False),
        ("a", '[{"embedding":[]}]', False),
        ("a", "[{}]", False),
        ("a", "[null]", False),
    ],
)
def test_there_is_one_embedding_for_each_input(given: Json, data: str, *, fits: bool) -> None:
    request = replace(chat(input=given), operation=Operation.EMBEDDING)
    with nullcontext() if fits else pytest.raises(MalformedAnswerError):
        whole_answer(b'{"data":%b}' % data.encode(), request)


def test_a_turn_of_thoughts_only_is_not_sent() -> None:
    user = {"role": "user", "content": "q"}
    thought: Json = {"type": "thinking", "thinking": "x", "signature": ""}
    turns: list[Json] = [user, {"role": "assistant", "content": [thought]}, user]
    asked = {"model": "m", "max_tokens": 9, "messages": turns}
    request = parse_messages_request(orjson.dumps(asked), {}).chat
    body, ignored = translated_body(request, "m")
    assert orjson.loads(body)["messages"] == [user, user]
    assert ignored == ("messages.thinking_blocks",)


def test_an_error_in_a_success_is_refused() -> None:
    with pytest.raises(ErrorAnswerError, match=r"^overloaded$"):
        completion(b'{"error":{"code":"overloaded","message":"x"},"choices":[]}')


_NONE = TokenUsage()


@pytest.mark.parametrize(
    ("usage", "wanted"),
    [
        (None, None),
        ([], None),
        ("7", None),
        (7, None),
        ({}, _NONE),
        ({"prompt_tokens": 7, "completion_tokens": 3}, TokenUsage(prompt=7, completion=3)),
        ({"prompt_tokens": 7.0}, TokenUsage(prompt=7)),
        ({"prompt_tokens": "7", "completion_tokens": None}, _NONE),
        ({"prompt_tokens": -7, "completion_tokens": True}, _NONE),
        ({"prompt_tokens": [7], "completion_tokens": {"n": 1}}, _NONE),
        ({"prompt_tokens_details": None, "completion_tokens_details": 3}, _NONE),
        ({"prompt_tokens_details": [], "completion_tokens_details": "x"}, _NONE),
        (
            {
                "prompt_tokens_details": {"cached_tokens": 5, "cache_write_tokens": 2},
                "completion_tokens_details": {"reasoning_tokens": 1},
            },
            TokenUsage(cached=5, cache_write=2, reasoning=1),
        ),
    ],
)
def test_usage_of(usage: Json, wanted: TokenUsage | None) -> None:
    assert usage_of(usage) == wanted
