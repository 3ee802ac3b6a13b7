"""What is refused, and by which name; what is estimated. What is sent: the golden folders."""

from typing import Any

import pytest

from ailb_server.domain.chat import OWN_FIELDS
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.ollama_request_wire import UpstreamRequest, upstream_request
from tests.unit.doubles import chat

_FUNCTION = {"type": "function", "function": {"name": "f"}}
_DATA = "data:image/png;base64,AAAA"


def _sent(**fields: Any) -> UpstreamRequest:
    return upstream_request(chat(**fields), "m", 8192)


def _param(**fields: Any) -> str:
    with pytest.raises(InvalidRequestError) as refused:
        _sent(**fields)
    return refused.value.facts["param"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n", 2),
        ("n", 0),
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("modalities", ["text", "audio"]),
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("web_search_options", {}),
        ("moderation", {}),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}),
        ("response_format", {"type": "grammar"}),
        ("response_format", "json_object"),
        ("reasoning_effort", "enormous"),
        ("reasoning_effort", 3),
        ("keep_alive", True),
        ("keep_alive", {}),
        ("stop", [1]),
        ("temperature", "hot"),
        ("presence_penalty", True),
        ("seed", 1.5),
        ("seed", "1"),
        ("max_tokens", 0),
        ("max_completion_tokens", -1),
        ("num_ctx", 0),
        ("num_ctx", 10**9),
        ("num_ctx", "8k"),
        ("logprobs", 3),
        ("top_logprobs", 21),
        ("top_logprobs", 2),
    ],
)
def test_a_parameter_is_refused_by_its_name(name: str, value: object) -> None:
    assert _param(**{name: value, **({"logprobs": True} if value == 21 else {})}) == name


def test_a_schema_is_needed() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x"}}
    assert _param(response_format=wanted) == "response_format.json_schema.schema"


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({"type": "custom", "custom": {"name": "f"}}, "tools[1].type"),
        ("f", "tools[1].type"),
        ({"type": "function"}, "tools[1].function"),
        ({"type": "function", "function": {}}, "tools[1].function.name"),
        (
            {"type": "function", "function": {"name": "f", "parameters": []}},
            "tools[1].function.parameters",
        ),
    ],
)
def test_a_tool_is_refused_by_its_place(tool: object, param: str) -> None:
    assert _param(tools=[_FUNCTION, tool]) == param
    assert _param(tools=[_FUNCTION, tool], tool_choice="none") == param


def _part(kind: str, value: object) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": kind, kind: value}]}


def _call(**call: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def _calling(arguments: object) -> dict[str, Any]:
    return _call(id="c", type="function", function={"name": "f", "arguments": arguments})


@pytest.mark.parametrize(
    ("message", "param"),
    [
        ({"role": "function", "name": "f", "content": "x"}, "role"),
        ({"role": "robot", "content": "x"}, "role"),
        ({"role": "user", "content": None}, "content"),
        ({"role": "user", "content": ["x"]}, "content[0]"),
        (_part("image_url", {"url": "https://example.com/x.png"}), "content[1].image_url"),
        (_part("image_url", {"url": "http://example.com/x.png"}), "content[1].image_url"),
        (_part("image_url", {"url": "file:///etc/passwd"}), "content[1].image_url"),
        (_part("image_url", {"url": "data:image/svg+xml,%3Csvg"}), "content[1].image_url"),
        (_part("image_url", {"url": "data:image/png;base64"}), "content[1].image_url"),
        (_part("image_url", {}), "content[1].image_url"),
        (_part("input_audio", {"data": "AA", "format": "wav"}), "content[1].input_audio"),
        (_part("file", {"file_id": "f"}), "content[1].file"),
        (_part("text", 3), "content[1].text"),
        (_part("video_url", {}), "content[1].type"),
        ({"role": "user", "content": [{"type": ["text"]}]}, "content[0].type"),
        ({"role": "assistant", "audio": {"id": "a"}}, "audio"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "function_call"),
        ({"role": "assistant", "tool_calls": {"id": "c"}}, "tool_calls"),
        (_call(id="c", type="custom", custom={}), "tool_calls[0].type"),
        (_call(id="c", type="function"), "tool_calls[0].function"),
        (_call(id="c", function={"name": ""}), "tool_calls[0].function.name"),
        (_calling("{"), "tool_calls[0].function.arguments"),
        (_calling("[1]"), "tool_calls[0].function.arguments"),
        (_calling(3), "tool_calls[0].function.arguments"),
        ({"role": "tool", "content": "x"}, "tool_call_id"),
    ],
)
def test_a_message_is_refused_by_its_place(message: dict[str, Any], param: str) -> None:
    messages = [{"role": "user", "content": "hi"}, message]
    assert _param(messages=messages) == f"messages[1].{param}"


def test_no_text_of_a_message_is_in_the_refusal() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _sent(messages=[_calling('{"secret')])
    assert "secret" not in str(refused.value)


def test_what_is_nested_beyond_writing_is_refused() -> None:
    with pytest.raises(InvalidRequestError):
        _sent(messages=[_calling('{"a":' + "[" * 500 + "]" * 500 + "}")])


def test_a_result_of_an_unknown_call_names_its_tool_itself_or_none() -> None:
    result = {"role": "tool", "tool_call_id": "c", "content": "x"}
    assert b"tool_name" not in _sent(messages=[result]).body
    assert b'"tool_name":"f"' in _sent(messages=[{**result, "name": "f"}]).body


def test_own_fields_are_neither_sent_nor_ignored_by_the_provider() -> None:
    sent = _sent(**dict.fromkeys(OWN_FIELDS, "x"))
    assert sent.ignored == ()
    assert not any(name.encode() in sent.body for name in OWN_FIELDS)


def test_null_is_as_if_it_were_absent() -> None:
    names = ("stop", "n", "tools", "tool_choice", "response_format", "audio", "user", "num_ctx")
    assert _sent(**dict.fromkeys(names)) == _sent()


def test_a_prompt_longer_than_the_context_overflows() -> None:
    assert not _sent(messages=[{"role": "user", "content": "word " * 6000}]).overflows
    long = [{"role": "user", "content": "word " * 7000}]
    assert _sent(messages=long).overflows
    assert not _sent(messages=long, num_ctx=16_384).overflows


def test_images_do_not_count_as_text() -> None:
    image = {"type": "image_url", "image_url": {"url": _DATA + "A" * 100_000}}
    sent = _sent(messages=[{"role": "user", "content": [image]}])
    assert len(sent.body) > 100_000
    assert sent.prompt_tokens < 100
