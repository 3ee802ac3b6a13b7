"""The pure part: what a request is answered with, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
import pytest

from ailb_server.demo.answer import fingerprint
from ailb_server.demo.behaviour import FAULTS, Behaviour, adjust
from ailb_server.demo.catalogue import Catalogue
from ailb_server.demo.embeddings import vector
from ailb_server.demo.errors import ApiError
from ailb_server.demo.provider import Endpoint, Provider
from ailb_server.demo.reply import Reply, chat, completions, embeddings
from ailb_server.demo.schema import smallest

PROVIDER = Provider(Catalogue(), {})
HELLO: Mapping[str, object] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "Say hello"}],
}


def ask(request: Mapping[str, object], endpoint: Endpoint = chat) -> Reply:
    raw = orjson.dumps(request)
    return PROVIDER.post(endpoint, raw, tag=fingerprint(raw), created=1)[0]


def said(**fields: object) -> str:
    reply = ask({**HELLO, **fields})
    text = orjson.loads(reply.body)["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def streamed(**fields: object) -> str:
    events = ask({**HELLO, **fields, "stream": True}).events or []
    chunks = [orjson.loads(event) for event in events[:-1]]
    return "".join(c["delta"].get("content", "") for chunk in chunks for c in chunk["choices"])


def turn(content: object, role: str = "user") -> list[dict[str, object]]:
    return [{"role": "system", "content": "Be brief."}, {"role": role, "content": content}]


@pytest.mark.parametrize(
    ("content", "answer"),
    [
        ("Say hello", '[demo] You said: "Say hello"'),
        ("  Two\n lines ", '[demo] You said: "Two lines"'),
        ("", "[demo] You said nothing"),
        (None, "[demo] You said nothing"),
        ("x" * 300, '[demo] You said: "' + "x" * 199 + '…"'),
        (
            [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {}}],
            '[demo] You said: "What is it?" and sent 1 image',
        ),
        (
            [{"type": "image_url"}, {"type": "image_url"}, {"type": "file"}],
            "[demo] You sent 2 images and 1 file",
        ),
    ],
)
def test_the_answer_is_labelled_and_quotes_the_last_message(content: object, answer: str) -> None:
    assert said(messages=turn(content)) == answer
    assert streamed(messages=turn(content)) == answer


def test_a_tool_result_is_answered_as_such() -> None:
    messages = [*turn("Weather?"), {"role": "tool", "tool_call_id": "1", "content": "Sunny"}]
    assert said(messages=messages) == '[demo] The tool said: "Sunny"'


def test_equal_requests_get_equal_answers() -> None:
    assert ask(HELLO).body == ask(HELLO).body
    assert ask(HELLO).body != ask({**HELLO, "seed": 1}).body


@pytest.mark.parametrize("words", [1, 3, 50, 20_000])
def test_words_set_the_length_exactly(words: int) -> None:
    assert len(said(demo={"words": words}).split()) == words


def test_echo_returns_the_request_whole_whatever_its_limits() -> None:
    request = {**HELLO, "model": "demo-echo", "max_tokens": 1, "stop": "m", "unknown": [1.5, None]}
    raw = orjson.dumps(request)
    body = PROVIDER.post(chat, raw, tag="t", created=1)[0].body
    assert orjson.loads(body)["choices"][0]["message"]["content"].encode() == raw


def test_completions_answer_every_prompt_n_times() -> None:
    reply = ask({"model": "demo", "prompt": ["a", "b"], "n": 2}, completions)
    choices = orjson.loads(reply.body)["choices"]
    assert [c["index"] for c in choices] == [0, 1, 2, 3]
    assert [c["text"][-3:] for c in choices] == ['"a"', '"a"', '"b"', '"b"']


@pytest.mark.parametrize(
    ("schema", "instance"),
    [
        ({"type": "integer", "minimum": 3}, 3),
        ({"type": "number", "exclusiveMaximum": 0}, -1),
        ({"type": "string", "minLength": 6}, "demo.."),
        ({"type": "string", "maxLength": 2}, "de"),
        ({"type": "string", "format": "date"}, "2025-01-01"),
        ({"enum": ["b", "a"]}, "b"),
        ({"const": None}, None),
        ({"type": ["null", "string"]}, None),
        ({"anyOf": [{"type": "boolean"}, {"type": "null"}]}, False),
        ({"type": "array", "items": {"type": "integer"}}, []),
        ({"type": "array", "items": {"type": "integer"}, "minItems": 2}, [0, 0]),
        (
            {
                "type": "object",
                "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"type": "null"}},
                "required": ["a"],
                "$defs": {"A": {"type": "string"}},
            },
            {"a": "demo"},
        ),
        (
            {
                "allOf": [
                    {"properties": {"a": {"type": "integer"}}, "required": ["a"]},
                    {"properties": {"b": {"type": "string"}}, "required": ["b"]},
                ]
            },
            {"a": 0, "b": "demo"},
        ),
        ({}, None),
        (True, None),
    ],
)
def test_the_smallest_instance_of_a_schema(schema: object, instance: object) -> None:
    assert smallest(schema) == instance


def test_a_schema_that_needs_itself_ends() -> None:
    schema = {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}
    assert isinstance(smallest(schema), dict)
    assert smallest({"$ref": "#"}) is None


def test_similar_texts_have_similar_vectors() -> None:
    def likeness(left: str, right: str) -> float:
        pairs = zip(vector(left, 256), vector(right, 256), strict=True)
        return sum(a * b for a, b in pairs)

    near = likeness("the cat sat on the mat", "The cat sat on a mat")
    far = likeness("the cat sat on the mat", "quarterly revenue grew")
    assert near > 0.7
    assert far < 0.3
    assert likeness("", "") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("change", "status", "param", "code"),
    [
        ({"model": None}, 400, None, None),
        ({"model": 5}, 400, "model", "invalid_type"),
        ({"model": "gpt-9"}, 404, None, "model_not_found"),
        ({"messages": "hi"}, 400, "messages", "invalid_type"),
        ({"messages": []}, 400, "messages", "empty_array"),
        ({"messages": ["hi"]}, 400, "messages[0]", "invalid_type"),
        ({"messages": [{"content": "x"}]}, 400, "messages[0].role", "missing_required_parameter"),
        ({"messages": [{"role": "bot"}]}, 400, "messages[0].role", "invalid_value"),
        ({"messages": turn(5)}, 400, "messages[1].content", "invalid_type"),
        ({"n": 0}, 400, "n", "integer_below_minimum_value"),
        ({"n": "2"}, 400, "n", "invalid_type"),
        ({"temperature": 2.5}, 400, "temperature", "decimal_above_maximum_value"),
        ({"max_tokens": True}, 400, "max_tokens", "invalid_type"),
        ({"stream": "yes"}, 400, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options", None),
        ({"top_logprobs": 2}, 400, "top_logprobs", None),
        ({"stop": list("abcde")}, 400, "stop", "array_above_max_length"),
        ({"tool_choice": "required"}, 400, "tool_choice", "invalid_value"),
        (
            {"response_format": {"type": "json_schema"}},
            400,
            "response_format.json_schema",
            "missing_required_parameter",
        ),
        ({"demo": {"falt": "cut"}}, 400, "demo.falt", "invalid_value"),
        ({"demo": {"fault": "explode"}}, 400, "demo.fault", "invalid_value"),
        ({"demo": {"latency_ms": 60_001}}, 400, "demo.latency_ms", "invalid_value"),
        ({"demo": {"words": 20_001}}, 400, "demo.words", "invalid_value"),
        ({"demo": {"words": 1.5}}, 400, "demo.words", "invalid_value"),
        ({"demo": {"status": 302}}, 400, "demo.status", "invalid_value"),
        ({"demo": {"headers": {"a": "b\r\nc"}}}, 400, "demo.headers.a", "invalid_value"),
        ({"demo": {"headers": {"Content-Length": "1"}}}, 400, "demo.headers.Content-Length", None),
        ({"demo": []}, 400, "demo", "invalid_value"),
    ],
)
def test_a_bad_request_is_refused_in_openai_s_shape(
    change: Mapping[str, object], status: int, param: str | None, code: str | None
) -> None:
    reply = ask({**HELLO, **change})
    error = orjson.loads(reply.body)["error"]
    assert (reply.status, error["param"]) == (status, param)
    assert set(error) == {"message", "type", "param", "code"}
    assert code is None or error["code"] == code


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b'"x"', b"\xff"])
def test_a_body_that_is_no_object_is_refused(raw: bytes) -> None:
    reply = PROVIDER.post(chat, raw, tag="t", created=1)[0]
    assert reply.status == 400
    assert orjson.loads(reply.body)["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("given", [None, 5, []])
def test_embeddings_need_an_input(given: object) -> None:
    assert ask({"model": "demo", "input": given}, embeddings).status == 400


def test_whole_doubles_count_as_integers() -> None:
    """A google.protobuf.Struct carries numbers as doubles only."""
    assert adjust(Behaviour(), {"words": 7.0}).words == 7


def test_every_fault_is_accepted_and_none_other() -> None:
    for fault in FAULTS:
        assert adjust(Behaviour(), {"fault": fault}).fault == fault
    with pytest.raises(ApiError):
        adjust(Behaviour(), {"fault": ""})
