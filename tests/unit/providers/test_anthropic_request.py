"""What a request becomes at Anthropic beside the golden cases: refusals, efforts, schemas."""

from typing import Any

import orjson
import pytest
from anthropic import transform_schema
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import Json
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.providers.anthropic_wire_models import UNKNOWN, ModelFacts, facts_of
from ailb_server.providers.anthropic_wire_request import DEFAULT_MAX_TOKENS, messages_request
from ailb_server.providers.anthropic_wire_schema import enforceable
from tests.unit.doubles import chat

_CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
_TOOL = {"type": "function", "function": {"name": "f"}}


def _sent(facts: ModelFacts = UNKNOWN, **fields: Json) -> tuple[Json, tuple[str, ...]]:
    sent = messages_request(chat(**fields), "claude", facts)
    return orjson.loads(sent.body), sent.ignored


def _user(*parts: Json) -> list[Json]:
    return [{"role": "user", "content": list(parts)}]


def _said(**message: Json) -> list[Json]:
    return [{"role": "user", "content": "x"}, {"role": "assistant", **message}]


def _image(url: Json) -> list[Json]:
    return _user({"type": "image_url", "image_url": {"url": url}})


def _file(**file: Json) -> list[Json]:
    return _user({"type": "file", "file": file})


def _schema(**json_schema: Json) -> Json:
    return {"type": "json_schema", "json_schema": json_schema}


_URL = "messages[0].content[0].image_url.url"
_FILE = "messages[0].content[0].file.file_data"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"audio": {"voice": "x"}}, "audio"),
        ({"functions": []}, "functions"),
        ({"function_call": "auto"}, "function_call"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"moderation": {"model": "x"}}, "moderation"),
        ({"user": 7}, "user"),
        ({"stop": ["a", 7]}, "stop"),
        ({"reasoning_effort": "vast"}, "reasoning_effort"),
        ({"response_format": "json"}, "response_format"),
        ({"response_format": {"type": "xml"}}, "response_format.type"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema"),
        ({"response_format": _schema(name="x")}, "response_format.json_schema.schema"),
        ({"tools": ["f"]}, "tools[0]"),
        ({"tools": [{"type": "custom", "custom": {"name": "f"}}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name"),
        ({"tools": [_TOOL], "tool_choice": "any"}, "tool_choice"),
        ({"tools": [_TOOL], "tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"tools": [_TOOL], "tool_choice": {"type": "function"}}, "tool_choice.function"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": " "}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content"),
        ({"messages": _user("x")}, "messages[0].content[0]"),
        ({"messages": _user({"type": "input_audio"})}, "messages[0].content[0].type"),
        ({"messages": _user({"type": ["text"]})}, "messages[0].content[0].type"),
        ({"messages": _user({"type": "text"})}, "messages[0].content[0].text"),
        ({"messages": _image(None)}, _URL),
        ({"messages": _image("ftp://x/y.png")}, _URL),
        ({"messages": _image("file_1")}, _URL),
        ({"messages": _image("data:image/png,xyz")}, _URL),
        ({"messages": _image("data:image/png;base64,")}, _URL),
        ({"messages": _image("data:image/bmp;base64,Qk0=")}, _URL),
        ({"messages": _file(file_data="data:text/csv;base64,eA==")}, _FILE),
        ({"messages": _file(filename="x")}, _FILE),
        ({"messages": _said(content=[{"type": "image_url"}])}, "messages[1].content[0].type"),
        ({"messages": _said(function_call={"name": "f"})}, "messages[1].function_call"),
        ({"messages": _said(audio={"id": "a"})}, "messages[1].audio"),
        ({"messages": _said(thinking_blocks="x")}, "messages[1].thinking_blocks"),
        ({"messages": _said(thinking_blocks=[{}])}, "messages[1].thinking_blocks[0].type"),
        (
            {"messages": _said(tool_calls=[{**_CALL, "type": "custom"}])},
            "messages[1].tool_calls[0].type",
        ),
        ({"messages": _said(tool_calls=[{**_CALL, "id": None}])}, "messages[1].tool_calls[0].id"),
        *(
            (
                {
                    "messages": _said(
                        tool_calls=[{**_CALL, "function": {"name": "f", "arguments": a}}]
                    )
                },
                "messages[1].tool_calls[0].function.arguments",
            )
            for a in ("{", "[]", "7", 7)
        ),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
    ],
)
def test_what_cannot_be_carried_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _sent(**fields)
    assert refused.value.facts["param"] == param
    assert f"`{param}`" in str(refused.value)


def test_a_schema_is_refused_for_a_model_that_cannot_hold_to_it() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        _sent(ModelFacts(structured_outputs=False), response_format=_schema(schema={}))
    assert refused.value.facts["param"] == "response_format"


@pytest.mark.parametrize("depth", [300, 100_000])
def test_deep_nesting_is_the_callers_fault(depth: int) -> None:
    schema: Json = {}
    for _ in range(depth):
        schema = {"type": "array", "items": schema}
    request = chat()
    fields = {**request.fields, "response_format": _schema(schema=schema)}
    deep = type(request)("m", stream=False, include_usage=False, body=b"", fields=fields)
    with pytest.raises(InvalidRequestError):
        messages_request(deep, "claude", UNKNOWN)
    while "items" in schema:  # Else the interpreter's own clean-up would recurse.
        schema = schema.pop("items")


@pytest.mark.parametrize(
    ("fields", "facts", "tokens"),
    [
        ({}, UNKNOWN, DEFAULT_MAX_TOKENS),
        ({}, ModelFacts(max_tokens=64_000), 64_000),
        ({"max_tokens": 7}, ModelFacts(max_tokens=64_000), 7),
        ({"max_tokens": 7, "max_completion_tokens": 9}, UNKNOWN, 9),
        ({"max_tokens": 0}, UNKNOWN, 0),
        ({"max_tokens": None}, UNKNOWN, DEFAULT_MAX_TOKENS),
    ],
)
def test_max_tokens(fields: dict[str, Any], facts: ModelFacts, tokens: int) -> None:
    assert _sent(facts, **fields)[0]["max_tokens"] == tokens


_ADAPTIVE = {"type": "adaptive"}
_ALL = frozenset({"low", "medium", "high", "xhigh", "max"})
_OLD = ModelFacts(thinking=frozenset({"enabled", "disabled"}), efforts=frozenset())


def _budget(tokens: int) -> Json:
    return {"type": "enabled", "budget_tokens": tokens}


@pytest.mark.parametrize(
    ("effort", "facts", "fields", "thinking", "sent_effort", "ignored"),
    [
        ("none", UNKNOWN, {}, None, None, True),
        (
            "none",
            ModelFacts(thinking=frozenset({"disabled"})),
            {},
            {"type": "disabled"},
            None,
            False,
        ),
        ("minimal", UNKNOWN, {}, _ADAPTIVE, "low", False),
        ("max", UNKNOWN, {}, _ADAPTIVE, "high", False),
        ("max", ModelFacts(efforts=_ALL), {}, _ADAPTIVE, "max", False),
        ("low", ModelFacts(efforts=frozenset({"high"})), {}, _ADAPTIVE, "high", False),
        ("high", ModelFacts(thinking=frozenset()), {}, None, "high", False),
        ("high", ModelFacts(thinking=frozenset(), efforts=frozenset()), {}, None, None, True),
        ("low", UNKNOWN, {"thinking": _budget(2000)}, _budget(2000), "low", False),
        ("none", UNKNOWN, {"thinking": _budget(2000)}, _budget(2000), None, True),
        ("medium", _OLD, {}, _budget(4096), None, False),
        ("high", _OLD, {"max_tokens": 2000}, _budget(1999), None, False),
        ("low", _OLD, {"max_tokens": 1024}, None, None, True),
        ("low", _OLD, {"tools": [_TOOL], "tool_choice": "required"}, None, None, True),
        ("low", _OLD, {"messages": _said(tool_calls=[_CALL])}, None, None, True),
    ],
)
def test_reasoning_effort(
    effort: str,
    facts: ModelFacts,
    fields: dict[str, Any],
    thinking: Json,
    sent_effort: str | None,
    *,
    ignored: bool,
) -> None:
    body, left_out = _sent(facts, reasoning_effort=effort, **fields)
    assert body.get("thinking") == thinking
    assert body.get("output_config", {}).get("effort") == sent_effort
    assert ("reasoning_effort" in left_out) is ignored


def test_a_thought_without_its_signature_is_not_returned() -> None:
    body, ignored = _sent(messages=_said(content="y", reasoning_content="hm"))
    assert body["messages"][1] == {"role": "assistant", "content": "y"}
    assert ignored == ("messages.reasoning_content",)


@pytest.mark.parametrize("nothing", ["", " \n"])
def test_a_part_that_says_nothing_is_left_out(nothing: str) -> None:
    parts = [{"type": "text", "text": text} for text in (nothing, "x", nothing)]
    assert _sent(messages=_user(*parts))[0]["messages"] == [{"role": "user", "content": "x"}]


def test_a_system_message_without_a_user_turn_before_it_goes_to_the_top() -> None:
    talk = [*_said(content="y"), {"role": "system", "content": "z"}]
    body, _ = _sent(ModelFacts(system_amid=True), messages=talk)
    assert body["system"] == "z"
    assert [message["role"] for message in body["messages"]] == ["user", "assistant"]


def test_no_more_than_one_user_is_told() -> None:
    body, ignored = _sent(safety_identifier="s")
    assert (body["metadata"], ignored) == ({"user_id": "s"}, ())


@pytest.mark.parametrize(
    ("tier", "sent"),
    [("auto", "auto"), ("priority", "auto"), ("default", "standard_only"), ("flex", None)],
)
def test_service_tier(tier: str, sent: str | None) -> None:
    body, ignored = _sent(service_tier=tier)
    assert body.get("service_tier") == sent
    assert (ignored == ("service_tier",)) is (sent is None)


@pytest.mark.parametrize("nothing", [None, {}, []])
def test_a_parameter_that_asks_for_nothing_is_not_named(nothing: Json) -> None:
    assert _sent(whatever=nothing)[1] == ()


def test_false_is_named_unless_it_is_the_default() -> None:
    assert _sent(whatever=False, store=False)[1] == ("whatever",)


@pytest.mark.parametrize("choice", ["none", "auto", None])
def test_no_choice_is_sent_without_tools(choice: Json) -> None:
    body, _ = _sent(tool_choice=choice, parallel_tool_calls=False)
    assert not body.keys() & {"tool_choice", "tools"}


def test_one_call_at_a_time_needs_a_choice() -> None:
    body, _ = _sent(tools=[_TOOL], parallel_tool_calls=False)
    assert body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}


def test_facts_of_an_older_listing_are_those_of_an_unknown_model() -> None:
    assert facts_of({"id": "claude"}) == UNKNOWN
    odd = {"id": "x", "max_tokens": "9", "capabilities": [], "created_at": 7}
    assert facts_of(odd) == UNKNOWN


_LEAVES = st.sampled_from(
    [
        {"type": "string"},
        {"type": "string", "format": "date", "maxLength": 3},
        {"type": "string", "format": "regex", "description": "d"},
        {"type": "integer", "minimum": 1, "title": "t"},
        {"type": "boolean", "default": True},
        {"type": "null"},
        {"enum": ["a", 1, None]},
        {"type": "string", "const": "a", "description": "d"},
        {"$ref": "#/$defs/a"},
    ]
)


def _grown(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    members = st.dictionaries(st.sampled_from("ab"), schemas, max_size=2)
    several = st.lists(schemas, min_size=1, max_size=2)
    extra = st.sampled_from([{}, {"description": "d"}, {"additionalProperties": True}])
    return st.one_of(
        st.builds(
            lambda m, x: {"type": "object", "properties": m, "required": list(m), **x},
            members,
            extra,
        ),
        st.builds(
            lambda s, n: {"type": "array", "items": s, "minItems": n}, schemas, st.integers(0, 3)
        ),
        st.builds(lambda name, v: {name: v}, st.sampled_from(["anyOf", "oneOf", "allOf"]), several),
        st.builds(lambda s, d: {**s, "$defs": d}, schemas, members),
    )


@given(st.recursive(_LEAVES, _grown, max_leaves=8))
def test_schemas_are_changed_as_the_official_package_does(schema: Any) -> None:
    before = orjson.dumps(schema)
    assert enforceable(schema) == transform_schema(schema)
    assert orjson.dumps(schema) == before
