"""Structs and JSON say the same, in one order, whatever is in them."""

import random
from typing import Any

import orjson
import pytest
from google.protobuf.struct_pb2 import ListValue, Struct, Value
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import chat_service_pb2
from ailb_server.api.messages.structs import MAX_DEPTH, json_of, number, struct_of
from ailb_server.domain.errors import InvalidRequestError

_NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=10,
)
_OBJECTS = st.dictionaries(st.text(max_size=4), _JSON, max_size=4)


@given(_OBJECTS)
def test_there_and_back(fields: dict[str, Any]) -> None:
    struct = Struct.FromString(struct_of(fields).SerializeToString())
    assert json_of(struct, "x") == fields


@given(_OBJECTS)
def test_equal_structs_are_the_same_bytes(fields: dict[str, Any]) -> None:
    names = list(fields)
    random.Random(1).shuffle(names)  # noqa: S311
    shuffled = {name: fields[name] for name in names}
    assert orjson.dumps(json_of(struct_of(fields), "x")) == orjson.dumps(
        json_of(struct_of(shuffled), "x")
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5.0, b"5"),
        (-3.0, b"-3"),
        (-0.0, b"0"),
        (0.5, b"0.5"),
        (2.0**53, b"9007199254740992"),
        (1e300, b"1e+300"),
        (-1e20, b"-1e+20"),
        (5e-324, b"5e-324"),
    ],
)
def test_whole_numbers_are_written_as_integers(value: float, text: bytes) -> None:
    assert orjson.dumps(number(value, "x")) == text


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_json_cannot_say_are_refused(value: float) -> None:
    struct = Struct(fields={"a": Value(list_value=ListValue(values=[Value(number_value=value)]))})
    with pytest.raises(InvalidRequestError) as raised:
        json_of(struct, "tools[0].function.parameters")
    assert raised.value.facts["param"] == "tools[0].function.parameters"


def test_a_value_without_a_kind_is_null() -> None:
    assert json_of(Struct(fields={"a": Value()}), "x") == {"a": None}


def test_names_are_in_order() -> None:
    fields = {name: {name: 1} for name in "cabd"}
    assert list(json_of(struct_of(fields), "x")) == ["a", "b", "c", "d"]
    nested = json_of(struct_of({"x": [{"b": 1, "a": 2}]}), "x")["x"][0]
    assert list(nested) == ["a", "b"]


def test_empty_lists_and_objects_stay() -> None:
    fields: dict[str, Any] = {"a": [], "b": {}, "c": [[], {}]}
    assert json_of(struct_of(fields), "x") == fields


@pytest.mark.parametrize("name", ["", "a"])
def test_what_is_nested_too_deep_for_parsers_is_null(name: str) -> None:
    deep: Any = 1
    for _ in range(900):
        deep = {name: deep} if name else [deep]
    response = chat_service_pb2.StreamChatCompletionResponse()
    # No Struct is nested deeper than a call's.
    call = response.chunk.choices.add().delta.tool_calls.add()
    call.additional_fields.CopyFrom(struct_of({"deep": deep, "flat": 1}))
    read = chat_service_pb2.StreamChatCompletionResponse.FromString(response.SerializeToString())
    told = json_of(read.chunk.choices[0].delta.tool_calls[0].additional_fields, "x")
    assert told["flat"] == 1
    level, inner = 0, told["deep"]
    while inner is not None:
        inner, level = inner[name] if name else inner[0], level + 1
    assert level == MAX_DEPTH - 1
