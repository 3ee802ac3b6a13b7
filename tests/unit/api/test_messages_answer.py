"""Whatever a provider answers becomes a typed answer, as much of it as can be."""

from typing import Any

import pytest

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import ChunkReader, completion_of
from ailb_server.api.messages.structs import json_of, struct_of
from ailb_server.domain.chat import TokenUsage

_COMPLETION: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1750000000,
    "model": "gpt-4o-2024-08-06",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hi!", "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
    "system_fingerprint": "fp_1",
}


def _choice(**choice: Any) -> pb.Choice:
    return completion_of({"choices": [choice]}, None).choices[0]


def _message(**message: Any) -> pb.Message:
    return _choice(message=message).message


def _extra(message: pb.Message | pb.ToolCall | pb.Choice | pb.ChatCompletion) -> dict[str, Any]:
    return json_of(message.additional_fields, "x")


def test_a_completion() -> None:
    wanted = pb.ChatCompletion(
        id="chatcmpl-1",
        created=1750000000,
        model="gpt-4o-2024-08-06",
        choices=[
            pb.Choice(
                message=pb.Message(role=pb.ROLE_ASSISTANT, content=[pb.ContentPart(text="Hi!")]),
                finish_reason=pb.FINISH_REASON_STOP,
            )
        ],
        usage=pb.Usage(prompt_tokens=9, completion_tokens=2, total_tokens=11),
        system_fingerprint="fp_1",
    )
    assert completion_of(_COMPLETION, TokenUsage(prompt=9, completion=2)) == wanted


def test_usage_is_told_by_kind_and_bounded() -> None:
    usage = TokenUsage(prompt=10, completion=5, cached=4, cache_write=3, reasoning=2)
    assert completion_of({}, usage).usage == pb.Usage(
        prompt_tokens=10,
        completion_tokens=5,
        total_tokens=15,
        cached_tokens=4,
        cache_write_tokens=3,
        reasoning_tokens=2,
    )
    huge = completion_of({}, TokenUsage(prompt=2**40, completion=2**31 - 1)).usage
    assert (huge.prompt_tokens, huge.total_tokens) == (2**31 - 1, 2**31 - 1)
    assert not completion_of({}, None).HasField("usage")


@pytest.mark.parametrize(
    ("reason", "wanted"),
    [
        ("stop", pb.FINISH_REASON_STOP),
        ("length", pb.FINISH_REASON_LENGTH),
        ("tool_calls", pb.FINISH_REASON_TOOL_CALLS),
        ("function_call", pb.FINISH_REASON_TOOL_CALLS),
        ("content_filter", pb.FINISH_REASON_CONTENT_FILTER),
        (None, pb.FINISH_REASON_UNSPECIFIED),
        ("", pb.FINISH_REASON_UNSPECIFIED),
        ("eos", pb.FINISH_REASON_UNSPECIFIED),
        (7, pb.FINISH_REASON_UNSPECIFIED),
        (["stop"], pb.FINISH_REASON_UNSPECIFIED),
    ],
)
def test_finish_reasons(reason: Any, wanted: pb.FinishReason.ValueType) -> None:
    assert _choice(finish_reason=reason).finish_reason == wanted


def test_an_unknown_finish_reason_is_kept_aside() -> None:
    assert _extra(_choice(index=2, finish_reason="eos")) == {"finish_reason": "eos"}


def test_several_answers() -> None:
    choices = [{"index": 1, "message": {"content": "b"}}, {"index": 0, "message": {"content": "a"}}]
    told = completion_of({"choices": choices}, None).choices
    assert [(choice.index, choice.message.content[0].text) for choice in told] == [
        (1, "b"),
        (0, "a"),
    ]


def test_answers_without_an_index_are_counted() -> None:
    assert [c.index for c in completion_of({"choices": [{}, {}]}, None).choices] == [0, 1]


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (None, []),
        ("", []),
        ("a", [pb.ContentPart(text="a")]),
        ([], []),
        ([{"type": "text", "text": "a"}], [pb.ContentPart(text="a")]),
        (
            [{"type": "image_url", "image_url": {"url": "u", "detail": "low"}}],
            [pb.ContentPart(image_url=pb.ImageUrl(url="u", detail=pb.IMAGE_DETAIL_LOW))],
        ),
        (7, []),
        (["a", 7, None], []),
        ({"text": "a"}, []),
    ],
)
def test_content(content: Any, wanted: list[pb.ContentPart]) -> None:
    assert list(_message(content=content).content) == wanted


@pytest.mark.parametrize(
    "part",
    [
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
        {"type": "text", "text": "a", "annotations": [1]},
        {"type": "text", "text": 7},
        {"type": "image_url", "image_url": {"url": "u", "detail": "huge"}},
        {"type": "image_url", "image_url": {"url": "u", "x": 1}},
        {"type": "image_url", "image_url": "u"},
        {"type": "image_url", "image_url": None},
        {"x": 1},
        {},
    ],
)
def test_parts_that_cannot_be_told_in_full_are_kept_whole(part: dict[str, Any]) -> None:
    (told,) = _message(content=[part]).content
    assert told.WhichOneof("part") == "other"
    assert json_of(told.other, "x") == part


def test_tool_calls() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}},
        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": {"a": 1}}},
        {"id": 7, "function": {"name": None}},
        {"id": "c4"},
        "odd",
    ]
    message = _message(content=None, tool_calls=calls)
    assert list(message.tool_calls) == [
        pb.ToolCall(id="c1", function=pb.FunctionCall(name="f", arguments='{"a":1}'), index=0),
        pb.ToolCall(id="c2", function=pb.FunctionCall(name="g", arguments='{"a":1}'), index=1),
        pb.ToolCall(function=pb.FunctionCall(), index=2),
        pb.ToolCall(id="c4", function=pb.FunctionCall(), index=3),
    ]
    assert not message.HasField("additional_fields")


def test_what_tool_calls_have_no_field_for_is_kept_beside_them() -> None:
    signed = {"id": "c1", "type": "function", "function": {"name": "f"}, "extra_content": {"s": 1}}
    custom = {"type": "custom", "custom": {"name": "g", "input": "x"}}
    message = _message(tool_calls=[signed, {"id": "c2", **custom}, {"id": "c3", "type": "odd"}])
    assert list(message.tool_calls) == [
        pb.ToolCall(
            id="c1",
            function=pb.FunctionCall(name="f"),
            additional_fields=struct_of({"extra_content": {"s": 1}}),
        ),
        pb.ToolCall(id="c2", index=1, additional_fields=struct_of(custom)),
        pb.ToolCall(id="c3", index=2, additional_fields=struct_of({"type": "odd"})),
    ]
    assert not message.HasField("additional_fields")


def test_further_fields_of_a_message() -> None:
    message = _message(
        role="assistant",
        content="x",
        refusal="no",
        reasoning_content="hm",
        function_call={"name": "f", "arguments": "{}"},
        audio=None,
        annotations=[],
    )
    assert message.refusal == "no"
    assert _extra(message) == {
        "reasoning_content": "hm",
        "function_call": {"name": "f", "arguments": "{}"},
    }


@pytest.mark.parametrize("role", [None, "", "model", 7, ["assistant"]])
def test_an_answer_is_the_assistants(role: Any) -> None:
    assert _message(role=role).role == pb.ROLE_ASSISTANT


def test_log_probabilities() -> None:
    top = [{"token": "b", "logprob": -2, "bytes": [98]}]
    tokens = [
        {"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": top},
        {"token": 7, "logprob": "x", "bytes": [300, -1], "top_logprobs": "x"},
        {"bytes": "x"},
        "odd",
    ]
    told = _choice(logprobs={"content": tokens, "refusal": None}).logprobs
    assert list(told) == [
        pb.TokenLogprob(
            token="é",
            logprob=-0.5,
            bytes="é".encode(),
            top_logprobs=[pb.TokenLogprob(token="b", logprob=-2, bytes=b"b")],
        ),
        pb.TokenLogprob(),
        pb.TokenLogprob(),
    ]


def test_further_fields_are_kept_at_their_place() -> None:
    answer = {
        **_COMPLETION,
        "service_tier": "default",
        "prompt_filter_results": [],
        "citations": ["u"],
        "choices": [
            {**_COMPLETION["choices"][0], "native_finish_reason": "end", "stop_reason": None},
            {"index": 1, "logprobs": {"refusal": [{"token": "no"}]}},
        ],
        "usage": {
            **_COMPLETION["usage"],
            "cost": 0.5,
            "prompt_tokens_details": {"cached_tokens": 3, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 1, "audio_tokens": 4},
        },
    }
    completion = completion_of(answer, None)
    assert _extra(completion) == {
        "service_tier": "default",
        "citations": ["u"],
        "usage": {"cost": 0.5, "completion_tokens_details": {"audio_tokens": 4}},
    }
    assert [_extra(choice) for choice in completion.choices] == [
        {"native_finish_reason": "end"},
        {"logprobs": {"refusal": [{"token": "no"}]}},
    ]


def _chunk(**delta: Any) -> dict[str, Any]:
    return {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _deltas(*events: dict[str, Any]) -> list[pb.Message]:
    reader = ChunkReader()
    return [reader.read(event, None).choices[0].delta for event in events]


def test_a_stream() -> None:
    reader = ChunkReader()
    head = {"id": "c", "created": 5, "model": "m", "system_fingerprint": "fp"}
    first = reader.read({**head, **_chunk(role="assistant", content="", refusal=None)}, None)
    assert first == pb.ChatCompletionChunk(
        id="c",
        created=5,
        model="m",
        system_fingerprint="fp",
        choices=[pb.ChoiceDelta(delta=pb.Message(role=pb.ROLE_ASSISTANT))],
    )
    second = reader.read(_chunk(content="Hi"), None)
    assert second.choices[0] == pb.ChoiceDelta(
        delta=pb.Message(content=[pb.ContentPart(text="Hi")])
    )
    end = reader.read({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}, None)
    assert end.choices[0] == pb.ChoiceDelta(delta=pb.Message(), finish_reason=pb.FINISH_REASON_STOP)
    last = reader.read({"choices": [], "usage": {"prompt_tokens": 3}}, TokenUsage(prompt=3))
    assert (len(last.choices), last.usage.prompt_tokens) == (0, 3)


@pytest.mark.parametrize("role", ["assistant", None])
def test_the_role_is_told_once_for_each_answer(role: str | None) -> None:
    said = {"role": role} if role else {}
    assert [delta.role for delta in _deltas(*[_chunk(content="x", **said)] * 3)] == [
        pb.ROLE_ASSISTANT,
        pb.ROLE_UNSPECIFIED,
        pb.ROLE_UNSPECIFIED,
    ]
    reader = ChunkReader()
    both = {"choices": [{"index": 0, "delta": said}, {"index": 1, "delta": said}]}
    assert [c.delta.role for c in reader.read(both, None).choices] == [pb.ROLE_ASSISTANT] * 2
    assert [c.delta.role for c in reader.read(both, None).choices] == [pb.ROLE_UNSPECIFIED] * 2


def test_content_that_is_null_absent_or_empty_adds_nothing() -> None:
    for delta in _deltas(_chunk(content=None), _chunk(), _chunk(content="")):
        assert not delta.content
        assert not delta.HasField("additional_fields")


def test_streamed_tool_calls_are_fragments() -> None:
    deltas = _deltas(
        _chunk(
            tool_calls=[
                {"index": 1, "id": "c1", "type": "function", "function": {"name": "f"}},
                {"index": 2, "id": "c2", "function": {"name": "g", "arguments": ""}, "x": 1},
            ]
        ),
        _chunk(tool_calls=[{"index": 1, "function": {"arguments": '{"a'}}]),
        _chunk(tool_calls=[{"index": 3, "custom": {"input": "x"}}]),
        _chunk(tool_calls=[{"index": 1, "type": "function", "extra_content": {"s": 1}}]),
    )
    assert list(deltas[0].tool_calls) == [
        pb.ToolCall(id="c1", index=1, function=pb.FunctionCall(name="f")),
        pb.ToolCall(
            id="c2",
            index=2,
            function=pb.FunctionCall(name="g"),
            additional_fields=struct_of({"x": 1}),
        ),
    ]
    assert list(deltas[1].tool_calls) == [
        pb.ToolCall(index=1, function=pb.FunctionCall(arguments='{"a'))
    ]
    assert list(deltas[2].tool_calls) == [
        pb.ToolCall(index=3, additional_fields=struct_of({"custom": {"input": "x"}}))
    ]
    # Merged with the call's other pieces it must not name the function's type twice.
    assert list(deltas[3].tool_calls) == [
        pb.ToolCall(index=1, additional_fields=struct_of({"extra_content": {"s": 1}}))
    ]


def test_further_fields_of_streamed_answers() -> None:
    event = {"choices": [{"index": 1, "finish_reason": "eos", "stop_reason": 2}], "x": 1}
    chunk = ChunkReader().read(event, None)
    wanted = struct_of({"finish_reason": "eos", "stop_reason": 2})
    assert chunk.choices[0].additional_fields == wanted
    assert chunk.additional_fields == struct_of({"x": 1})
    plain = ChunkReader().read(_chunk(content="x"), None)
    assert not plain.choices[0].HasField("additional_fields")


def test_reasoning_travels_in_deltas() -> None:
    (delta,) = _deltas(_chunk(content=None, reasoning_content="hm"))
    assert _extra(delta) == {"reasoning_content": "hm"}
