"""No JSON that a provider may answer is a fault of ours."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from ailb.v1 import chat_pb2 as pb
from ailb_server.api.messages import ChunkReader, chat_request, completion_of

# Names that mean something to the translation, so that odd values meet it.
_NAMES = (
    "id", "object", "created", "model", "choices", "usage", "system_fingerprint", "index",
    "message", "delta", "finish_reason", "logprobs", "role", "content", "refusal", "tool_calls",
    "name", "function", "arguments", "type", "text", "image_url", "url", "detail", "token",
    "bytes", "logprob", "top_logprobs", "prompt_tokens", "prompt_tokens_details",
    "cached_tokens", "x",
)  # fmt: skip
_KEYS = st.sampled_from(_NAMES)
_ODD = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        st.sampled_from(["", "text", "image_url", "function", "assistant", "stop", "high", "é"]),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_KEYS, inner, max_size=5)),
    max_leaves=15,
)
_ANSWERS = st.one_of(
    st.dictionaries(_KEYS, _ODD, max_size=6),
    st.lists(st.dictionaries(_KEYS, _ODD, max_size=5), max_size=2).map(lambda c: {"choices": c}),
    st.dictionaries(_KEYS, _ODD, max_size=5).map(
        lambda m: {"choices": [{"message": m, "delta": m, "logprobs": {"content": [m]}}]}
    ),
    st.dictionaries(_KEYS, _ODD, max_size=5).map(
        lambda c: {"choices": [{"message": {"tool_calls": [c]}, "delta": {"content": [c]}}]}
    ),
)


@given(_ANSWERS)
def test_any_json_becomes_an_answer(answer: dict[str, Any]) -> None:
    completion = completion_of(orjson.loads(orjson.dumps(answer)), None)
    chunk = ChunkReader().read(answer, None)
    assert pb.ChatCompletion.FromString(completion.SerializeToString()) == completion
    assert pb.ChatCompletionChunk.FromString(chunk.SerializeToString()) == chunk


def test_the_deepest_json_becomes_an_answer() -> None:
    text = b'{"a":' * 1000 + b"1" + b"}" * 1000
    answer = (
        b'{"x":%b,"choices":[{"message":{"x":%b,"tool_calls":[{"function":{"arguments":%b}}]}}]}'
    )
    completion = completion_of(orjson.loads(answer % (text, text, text)), None)
    assert pb.ChatCompletion.FromString(completion.SerializeToString()) == completion


@given(_ANSWERS)
def test_an_answer_can_be_sent_back(answer: dict[str, Any]) -> None:
    messages = [choice.message for choice in completion_of(answer, None).choices]
    for message in messages:
        # What a caller appends to the conversation: nothing in it may be AILB's own refusal.
        if all(call.function.name or not call.HasField("function") for call in message.tool_calls):
            parameters = pb.ChatCompletionParameters(model="m", messages=[message])
            assert chat_request(parameters, stream=False).fields["messages"][0]["role"]
