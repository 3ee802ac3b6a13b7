"""Ollama's golden folders, both ways, and what must hold however the network cuts a stream."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ailb_server.domain.chat import TokenUsage
from ailb_server.providers.ndjson import LineCutter
from ailb_server.providers.ollama_answer_wire import StreamReader, completion
from ailb_server.providers.ollama_request_wire import upstream_request
from tests.support.ollama_upstream import Line, last_line, line, ndjson, whole
from tests.wire.ollama_cases import BROKEN, CASES, NUM_CTX, REFUSALS, Case, counted, told
from tests.wire.refusals import check_refusal

# Never failed by a slow machine.
_TRIED = settings(
    max_examples=300,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
_EVERY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.folder.name))


@_EVERY_CASE
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_sent(case: Case, *, stream: bool) -> None:
    sent = upstream_request(case.request(stream=stream), "llama3.2:3b", NUM_CTX)
    body = json.loads(sent.body)
    assert body.pop("stream") is stream
    assert body == case.json("upstream_request.json")
    assert sent.ignored == case.ignored()
    assert sent.num_ctx == body["options"]["num_ctx"]


@pytest.mark.parametrize("case", REFUSALS, ids=lambda case: str(case.folder.name))
def test_what_is_refused(case: Case) -> None:
    request = case.request(stream=False)
    check_refusal(case.folder, lambda: upstream_request(request, "llama3.2:3b", NUM_CTX))


@pytest.mark.parametrize("case", BROKEN, ids=lambda case: str(case.folder.name))
def test_a_stream_that_breaks_off(case: Case) -> None:
    reader = StreamReader("asked", include_usage=False, mint=counted())
    chunk = reader.read(LineCutter().feed(case.text("upstream_response.ndjson")))
    assert chunk.wire == case.text("answer.sse")
    assert str(reader.fault) == case.json("fault.json")


@_EVERY_CASE
def test_a_whole_answer(case: Case) -> None:
    chunk = completion(case.text("upstream_response.json"), "asked", counted())
    assert json.loads(chunk.wire) == case.json("answer.json") == chunk.events[0]
    answer = ChatCompletion.model_validate_json(chunk.wire, strict=True)
    assert answer.usage is not None
    assert chunk.usage == TokenUsage(answer.usage.prompt_tokens, answer.usage.completion_tokens)


@_EVERY_CASE
def test_a_stream(case: Case) -> None:
    request = case.request(stream=True)
    text, events, usages = told(
        [case.text("upstream_response.ndjson")], include_usage=request.include_usage
    )
    assert text.decode() == case.text("answer.sse").decode()
    for event in events:
        ChatCompletionChunk.model_validate_json(json.dumps(event), strict=True)
    assert len(usages) == 1
    shown = [json.loads(data) for data in _data(text)]
    assert shown == (events if request.include_usage else events[:-1])
    assert folded(events) == _choice(case.json("answer.json"))


@_EVERY_CASE
def test_a_stream_cut_anywhere_once(case: Case) -> None:
    text = case.text("upstream_response.ndjson")
    expected = told([text], include_usage=True)
    for cut in range(1, len(text)):
        assert told([text[:cut], text[cut:]], include_usage=True) == expected


_TEXTS = st.text(max_size=6)
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | _TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_TEXTS, inner, max_size=2),
    max_leaves=4,
)
_CALLS = st.builds(
    lambda name, arguments, identity: {
        **({"id": identity} if identity else {}),
        "function": {"index": 0, "name": name, "arguments": arguments},
    },
    st.text("ab_", min_size=1, max_size=3),
    st.dictionaries(_TEXTS, _JSON, max_size=2),
    st.sampled_from(["", "call_x"]),
)
_TOKENS = st.builds(
    lambda token, logprob: {"token": token, "logprob": logprob}, _TEXTS, st.floats(-9, 0)
)


def _line(content: str, thinking: str, calls: list[Line], tokens: list[Line]) -> Line:
    message: Line = {"thinking": thinking} if thinking else {}
    if calls:
        message["tool_calls"] = calls
    return {**line(content, **message), **({"logprobs": tokens} if tokens else {})}


_ANSWERS = st.builds(
    lambda lines, reason, counts: [*lines, last_line(reason, **counts)],
    st.lists(
        st.builds(
            _line,
            _TEXTS,
            _TEXTS,
            st.lists(_CALLS, max_size=2),
            st.lists(_TOKENS, max_size=2),
        ),
        max_size=5,
    ),
    st.sampled_from(["stop", "length", "load", "unload"]),
    st.fixed_dictionaries({"prompt_eval_count": st.integers(0, 99)}),
)


@_TRIED
@given(_ANSWERS, st.data())
def test_a_stream_cut_anywhere_often(lines: list[Line], data: st.DataObject) -> None:
    text = ndjson(lines)
    places = st.lists(st.integers(0, len(text)), max_size=12)
    cuts = [0, *sorted(data.draw(places)), len(text)]
    reads = [text[a:b] for a, b in pairwise(cuts)]
    assert told(reads, include_usage=True) == told([text], include_usage=True)


@_TRIED
@given(_ANSWERS)
def test_a_stream_says_what_a_whole_answer_says(lines: list[Line]) -> None:
    _, events, (usage,) = told([ndjson(lines)], include_usage=True)
    chunk = completion(ndjson([whole(lines)]), "asked", counted())
    answer = chunk.events[0]
    assert usage == chunk.usage
    assert events[-1]["usage"] == answer["usage"]
    assert [{e["id"], e["created"], e["model"]} for e in events] == [
        {answer["id"], answer["created"], answer["model"]}
    ] * len(events)
    assert folded(events) == _choice(answer)


def folded(events: list[Any]) -> Any:
    """What a client makes of a stream: one choice's message, reason and log probabilities."""
    message: dict[str, Any] = {"content": ""}
    tokens: list[Any] = []
    reasons: list[str] = []
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    for choice in (choice for event in events for choice in event["choices"]):
        delta = choice["delta"]
        for name in ("content", "reasoning_content"):
            if name in delta:
                message[name] = message.get(name, "") + delta[name]
        for call in delta.get("tool_calls", ()):
            calls = message.setdefault("tool_calls", [])
            assert call["index"] == len(calls)
            calls.append({name: call[name] for name in ("id", "type", "function")})
        tokens += (choice["logprobs"] or {}).get("content", [])
        reasons += [choice["finish_reason"]] if choice["finish_reason"] else []
    assert len(reasons) == 1
    return message, reasons[0], tokens


def _choice(answer: Any) -> Any:
    (choice,) = answer["choices"]
    message = {k: v for k, v in choice["message"].items() if k not in ("role", "refusal")}
    message["content"] = message["content"] or ""
    return message, choice["finish_reason"], (choice["logprobs"] or {}).get("content", [])


def _data(text: bytes) -> list[bytes]:
    events = text.split(b"\n\n")
    assert events[-2:] == [b"data: [DONE]", b""]
    return [event.removeprefix(b"data: ") for event in events[:-2]]
