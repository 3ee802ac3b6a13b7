"""A typed request is the request that a REST caller would have written."""

from typing import Any

import orjson
import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import chat_request, names
from ailb_server.api.messages.structs import struct_of
from ailb_server.domain.errors import InvalidRequestError

_HI = pb.Message(role=pb.ROLE_USER, content=[pb.ContentPart(text="hi")])


def _parameters(*messages: pb.Message, **fields: Any) -> pb.ChatCompletionParameters:
    return pb.ChatCompletionParameters(**{"model": "m", "messages": messages or [_HI], **fields})


def _sent(*messages: pb.Message, **fields: Any) -> dict[str, Any]:
    body = chat_request(_parameters(*messages, **fields), stream=False).body
    sent: dict[str, Any] = orjson.loads(body)
    return sent


def _message(**fields: Any) -> dict[str, Any]:
    message: dict[str, Any] = _sent(pb.Message(**fields))["messages"][0]
    return message


def _refused(parameters: pb.ChatCompletionParameters) -> str:
    with pytest.raises(InvalidRequestError) as raised:
        chat_request(parameters, stream=False)
    return raised.value.facts["param"]


def test_unset_fields_are_not_sent() -> None:
    assert _sent() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_a_stream_always_tells_usage() -> None:
    request = chat_request(_parameters(), stream=True)
    assert (request.stream, request.include_usage) == (True, True)
    assert orjson.loads(request.body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 0.25),
        ("temperature", 0.0),
        ("top_p", 1.0),
        ("n", 2),
        ("n", 0),
        ("max_completion_tokens", 100),
        ("max_tokens", 100),
        ("presence_penalty", -2.0),
        ("frequency_penalty", 0.5),
        ("logprobs", True),
        ("logprobs", False),
        ("top_logprobs", 5),
        ("seed", -(2**63)),
        ("user", ""),
        ("parallel_tool_calls", False),
        ("stop", ["a", "b"]),
        ("logit_bias", {"50256": -100.0, "11": 0.5}),
        ("metadata", {"b": "2", "a": "1"}),
        ("session_id", "alice-7"),
        ("rag_collection", "manuals"),
        ("rag_top_k", 5),
        ("rag_min_score", 0.25),
    ],
)
def test_what_is_set_is_sent(name: str, value: Any) -> None:
    assert _sent(**{name: value})[name] == value


def test_every_field_has_a_test() -> None:
    tested = {
        "model", "messages", "temperature", "top_p", "n", "stop", "max_completion_tokens",
        "max_tokens", "presence_penalty", "frequency_penalty", "logit_bias", "logprobs",
        "top_logprobs", "seed", "user", "tools", "tool_choice", "parallel_tool_calls",
        "response_format", "reasoning_effort", "metadata", "additional_parameters",
        "session_id", "rag_collection", "rag_top_k", "rag_filter", "rag_min_score",
    }  # fmt: skip
    assert tested == set(pb.ChatCompletionParameters.DESCRIPTOR.fields_by_name)


def test_whole_numbers_are_integers() -> None:
    body = chat_request(
        _parameters(temperature=1.0, logit_bias={"1": 5.0}, top_p=0.5), stream=False
    ).body
    assert b'"temperature":1,' in body
    assert b'"logit_bias":{"1":5}' in body
    assert b'"top_p":0.5' in body


@pytest.mark.parametrize("name", ["temperature", "top_p", "presence_penalty", "frequency_penalty"])
def test_numbers_must_be_finite(name: str) -> None:
    assert _refused(_parameters(**{name: float("nan")})) == name


def test_a_bias_must_be_finite() -> None:
    assert _refused(_parameters(logit_bias={"1": float("inf")})) == "logit_bias"


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (pb.ROLE_DEVELOPER, "developer"),
        (pb.ROLE_SYSTEM, "system"),
        (pb.ROLE_USER, "user"),
        (pb.ROLE_ASSISTANT, "assistant"),
        (pb.ROLE_TOOL, "tool"),
    ],
)
def test_roles(role: pb.Role.ValueType, name: str) -> None:
    assert _message(role=role)["role"] == name


def test_a_single_text_is_a_string_several_parts_are_an_array() -> None:
    text, image = pb.ContentPart(text="a"), pb.ContentPart(image_url=pb.ImageUrl(url="data:x"))
    one, two = {"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:x"}}
    assert _message(role=pb.ROLE_USER, content=[text])["content"] == "a"
    assert _message(role=pb.ROLE_USER, content=[text, text])["content"] == [one, one]
    assert _message(role=pb.ROLE_USER, content=[image])["content"] == [two]
    assert _message(role=pb.ROLE_USER, content=[text, image])["content"] == [one, two]


def test_image_detail_and_other_parts() -> None:
    other = {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}
    parts = [
        pb.ContentPart(image_url=pb.ImageUrl(url="u", detail=pb.IMAGE_DETAIL_HIGH)),
        pb.ContentPart(other=struct_of(other)),
    ]
    assert _message(role=pb.ROLE_USER, content=parts)["content"] == [
        {"type": "image_url", "image_url": {"url": "u", "detail": "high"}},
        other,
    ]


_CALL = pb.ToolCall(id="c1", function=pb.FunctionCall(name="f", arguments='{"a": 1e3}'), index=4)
_CALL_JSON = {
    "id": "c1",
    "type": "function",
    "function": {"name": "f", "arguments": '{"a": 1e3}'},
}


def test_no_content_is_null_beside_tool_calls_and_empty_otherwise() -> None:
    called = _message(role=pb.ROLE_ASSISTANT, tool_calls=[_CALL])
    assert called == {"role": "assistant", "content": None, "tool_calls": [_CALL_JSON]}
    assert _message(role=pb.ROLE_ASSISTANT)["content"] == ""
    assert _message(role=pb.ROLE_TOOL, tool_call_id="c1") == {
        "role": "tool",
        "content": "",
        "tool_call_id": "c1",
    }
    legacy = struct_of({"function_call": {"name": "f", "arguments": ""}})
    assert _message(role=pb.ROLE_ASSISTANT, additional_fields=legacy)["content"] is None


def test_names_refusals_and_further_fields() -> None:
    further = struct_of({"reasoning_content": "hm", "cache_control": {"type": "ephemeral"}})
    message = _message(role=pb.ROLE_ASSISTANT, name="bob", refusal="no", additional_fields=further)
    assert message == {
        "role": "assistant",
        "content": "",
        "name": "bob",
        "refusal": "no",
        "reasoning_content": "hm",
        "cache_control": {"type": "ephemeral"},
    }


def test_further_fields_of_calls_are_sent_back() -> None:
    signature = {"extra_content": {"google": {"thought_signature": "s"}}}
    signed = pb.ToolCall(additional_fields=struct_of(signature))
    signed.MergeFrom(_CALL)
    other = {"type": "custom", "custom": {"name": "g", "input": "x"}}
    custom = pb.ToolCall(id="c2", index=1, additional_fields=struct_of(other))
    message = _message(role=pb.ROLE_ASSISTANT, tool_calls=[signed, custom])
    assert message["content"] is None
    assert message["tool_calls"] == [{**_CALL_JSON, **signature}, {"id": "c2", **other}]


@pytest.mark.parametrize("name", ["id", "index", "type", "function"])
def test_further_fields_of_a_call_hold_no_name_that_has_a_place(name: str) -> None:
    call = pb.ToolCall(function=_CALL.function, additional_fields=struct_of({name: "x"}))
    message = pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[_CALL, call])
    assert _refused(_parameters(message)) == f"messages[0].tool_calls[1].{name}"


def test_tools() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 5}}}
    other = {"type": "custom", "custom": {"name": "g"}}
    tools = [
        pb.Tool(function=pb.FunctionDefinition(name="f")),
        pb.Tool(
            function=pb.FunctionDefinition(
                name="g", description="", parameters=struct_of(schema), strict=False
            )
        ),
        pb.Tool(function=pb.FunctionDefinition(name="h", parameters=Struct())),
        pb.Tool(other=struct_of(other)),
    ]
    full = {"name": "g", "description": "", "parameters": schema, "strict": False}
    assert _sent(tools=tools)["tools"] == [
        {"type": "function", "function": {"name": "f"}},
        {"type": "function", "function": full},
        {"type": "function", "function": {"name": "h", "parameters": {}}},
        other,
    ]


@pytest.mark.parametrize(
    ("choice", "wanted"),
    [
        (pb.ToolChoice(), None),
        (pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_UNSPECIFIED), None),
        (pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_NONE), "none"),
        (pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_AUTO), "auto"),
        (pb.ToolChoice(mode=pb.TOOL_CHOICE_MODE_REQUIRED), "required"),
        (pb.ToolChoice(function_name="f"), {"type": "function", "function": {"name": "f"}}),
    ],
)
def test_tool_choice(choice: pb.ToolChoice, wanted: Any) -> None:
    sent = _sent(tool_choice=choice)
    assert sent.get("tool_choice") == wanted
    assert ("tool_choice" in sent) == (wanted is not None)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (pb.ResponseFormat(), None),
        (pb.ResponseFormat(mode=pb.RESPONSE_FORMAT_MODE_UNSPECIFIED), None),
        (pb.ResponseFormat(mode=pb.RESPONSE_FORMAT_MODE_TEXT), {"type": "text"}),
        (pb.ResponseFormat(mode=pb.RESPONSE_FORMAT_MODE_JSON_OBJECT), {"type": "json_object"}),
        (
            pb.ResponseFormat(json_schema=pb.JsonSchemaFormat(name="s")),
            {"type": "json_schema", "json_schema": {"name": "s"}},
        ),
        (
            pb.ResponseFormat(
                json_schema=pb.JsonSchemaFormat(
                    name="s", description="d", strict=True, schema=struct_of({"type": "object"})
                )
            ),
            {
                "type": "json_schema",
                "json_schema": {
                    "name": "s",
                    "description": "d",
                    "strict": True,
                    "schema": {"type": "object"},
                },
            },
        ),
    ],
)
def test_response_format(given: pb.ResponseFormat, wanted: Any) -> None:
    assert _sent(response_format=given).get("response_format") == wanted


@pytest.mark.parametrize(
    "effort", [None, "none", "minimal", "low", "medium", "high", "xhigh", "max"]
)
def test_reasoning_effort(effort: str | None) -> None:
    value = pb.ReasoningEffort.Value(f"REASONING_EFFORT_{(effort or 'unspecified').upper()}")
    assert _sent(reasoning_effort=value).get("reasoning_effort") == effort


def test_every_enum_value_but_unspecified_has_a_name() -> None:
    for enum, known in (
        (pb.Role, names.ROLES),
        (pb.ImageDetail, names.DETAILS),
        (pb.ReasoningEffort, names.EFFORTS),
        (pb.ToolChoiceMode, names.TOOL_CHOICES),
        (pb.ResponseFormatMode, names.FORMATS),
    ):
        assert set(known) == set(enum.values()) - {0}
    assert set(names.FINISH_REASONS.values()) == set(pb.FinishReason.values()) - {0}


def test_a_filter_is_sent() -> None:
    assert _sent(rag_filter=struct_of({"lang": "en"}))["rag_filter"] == {"lang": "en"}


def test_additional_parameters_travel_along() -> None:
    more = struct_of({"top_k": 5, "min_p": 0.1, "provider": {"order": ["a"]}})
    request = chat_request(_parameters(additional_parameters=more), stream=False)
    sent = orjson.loads(request.body)
    assert (sent["top_k"], sent["min_p"], sent["provider"]) == (5, 0.1, {"order": ["a"]})
    assert request.own_fields == frozenset()


@pytest.mark.parametrize(
    "name",
    [*sorted(pb.ChatCompletionParameters.DESCRIPTOR.fields_by_name), "stream", "stream_options"],
)
def test_additional_parameters_hold_no_name_that_has_a_field(name: str) -> None:
    more = struct_of({"fine": 1, name: True})
    assert _refused(_parameters(additional_parameters=more)) == name


@pytest.mark.parametrize(
    "name", ["role", "content", "name", "tool_calls", "tool_call_id", "refusal"]
)
def test_additional_fields_hold_no_name_that_has_a_field(name: str) -> None:
    message = pb.Message(role=pb.ROLE_USER, additional_fields=struct_of({name: "x"}))
    assert _refused(_parameters(_HI, message)) == f"messages[1].{name}"


def _user(part: pb.ContentPart) -> pb.Message:
    return pb.Message(role=pb.ROLE_USER, content=[pb.ContentPart(text="x"), part])


@pytest.mark.parametrize(
    ("parameters", "param"),
    [
        (pb.ChatCompletionParameters(), "model"),
        (pb.ChatCompletionParameters(messages=[_HI]), "model"),
        (pb.ChatCompletionParameters(model="m"), "messages"),
        (_parameters(_HI, pb.Message()), "messages[1].role"),
        (_parameters(_user(pb.ContentPart())), "messages[0].content[1]"),
        (
            _parameters(_user(pb.ContentPart(image_url=pb.ImageUrl()))),
            "messages[0].content[1].image_url.url",
        ),
        (
            _parameters(pb.Message(role=pb.ROLE_ASSISTANT, tool_calls=[pb.ToolCall(id="c")])),
            "messages[0].tool_calls[0].function.name",
        ),
        (_parameters(tools=[pb.Tool()]), "tools[0]"),
        (_parameters(tools=[pb.Tool(function=pb.FunctionDefinition())]), "tools[0].function.name"),
        (_parameters(tool_choice=pb.ToolChoice(function_name="")), "tool_choice.function_name"),
        (
            _parameters(response_format=pb.ResponseFormat(json_schema=pb.JsonSchemaFormat())),
            "response_format.json_schema.name",
        ),
    ],
)
def test_what_cannot_be_sent_is_named(parameters: pb.ChatCompletionParameters, param: str) -> None:
    assert _refused(parameters) == param


@pytest.mark.parametrize(
    ("wire", "param"),
    [
        # An open enum's value that this version does not know, as a newer client sends it.
        (b"\x12\x02\x08\x63", "messages[1].role"),
        (b"\xa0\x01\x63", "reasoning_effort"),
        (b"\x8a\x01\x02\x08\x63", "tool_choice.mode"),
        (b"\x9a\x01\x02\x08\x63", "response_format.mode"),
        (
            b"\x12\x0b\x08\x03\x12\x07\x12\x05\x0a\x01u\x10\x63",
            "messages[1].content[0].image_url.detail",
        ),
    ],
)
def test_enum_values_of_a_newer_version_are_refused(wire: bytes, param: str) -> None:
    base = _parameters().SerializeToString()
    assert _refused(pb.ChatCompletionParameters.FromString(base + wire)) == param


_TEXTS = st.text(max_size=20)


@given(st.lists(st.tuples(st.sampled_from(sorted(pb.Role.values())[1:]), _TEXTS), min_size=1))
def test_any_text_arrives(turns: list[tuple[pb.Role.ValueType, str]]) -> None:
    messages = [pb.Message(role=role, content=[pb.ContentPart(text=text)]) for role, text in turns]
    sent = _sent(*messages)["messages"]
    assert [message["content"] for message in sent] == [text for _, text in turns]
