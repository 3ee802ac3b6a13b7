"""Answers as bytes, and back; and which are worth to be given again."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.domain.chat import ChatChunk, Operation, TokenUsage
from ailb_server.domain.context import Source
from ailb_server.domain.repeats import Recording
from ailb_server.pipeline.recordings import (
    Recorder,
    Replay,
    is_good,
    recording_bytes,
    recording_of,
)
from tests.unit.doubles import chat

SOURCE = Source(1, "manuals", "a.md", "A", "/a.md", 0.25, 0, 1, "It is said")
EVENTS = st.dictionaries(
    st.text(max_size=5), st.integers() | st.text(max_size=9) | st.none() | st.floats(0, 1)
)
CHUNKS = st.builds(
    ChatChunk,
    st.lists(EVENTS, max_size=3).map(tuple),
    st.binary(max_size=30),
    st.none() | st.builds(TokenUsage, st.integers(0, 9), st.integers(0, 9), st.integers(0, 9)),
    st.sampled_from(["openai", "anthropic"]),
)


@given(st.lists(CHUNKS, min_size=1, max_size=4).map(tuple), st.booleans())
def test_what_was_recorded_is_what_is_told(
    chunks: tuple[ChatChunk, ...],
    told: bool,  # noqa: FBT001
) -> None:
    recording = Recording(
        "p",
        "m",
        chunks,
        frozenset({"seed"} if told else ()),
        (SOURCE,) if told else (),
        ("rag",) if told else (),
    )
    whole = recording_bytes(recording, 1_000_000)
    assert whole is not None
    assert recording_of(whole) == recording
    assert recording_bytes(recording, len(whole) - 1) is None


def test_what_json_cannot_say_is_no_recording() -> None:
    deep: Any = []
    for _ in range(1000):
        deep = [deep]
    assert recording_bytes(Recording("p", "m", (ChatChunk(({"a": deep},), b""),)), 10**9) is None


def test_a_recorder_lets_go_of_what_is_too_much() -> None:
    recorder = Recorder(5)
    recorder.add(ChatChunk((), b"12345"))
    assert recorder.whole
    recorder.add(ChatChunk((), b"6"))
    recorder.add(ChatChunk((), b""))
    assert not recorder.whole
    assert recorder.chunks == []


async def test_a_replay_is_read_once() -> None:
    chunks = [ChatChunk((), b"1"), ChatChunk((), b"2")]
    replay = Replay(chunks)
    assert await anext(replay) == chunks[0]
    assert [chunk async for chunk in replay] == chunks[1:]


def ended(reason: Any = "stop", index: Any = 0, **said: Any) -> dict[str, Any]:
    return {"index": index, "delta": said, "finish_reason": reason}


@pytest.mark.parametrize(
    ("choices", "good"),
    [
        ([ended()], True),
        ([ended("length")], True),
        ([ended("tool_calls")], True),
        ([ended(None)], False),
        ([ended(None), ended()], True),
        ([ended(None, 1), ended("stop", 0)], False),
        ([ended("stop", 1), ended("stop", 0)], True),
        ([ended("content_filter")], False),
        ([ended("error")], False),
        ([ended(refusal="No.")], False),
        ([ended(index=[])], True),
        ([ended(index="x")], False),
        (["no object"], False),
        ([], False),
    ],
)
def test_which_answers_are_good(choices: list[Any], good: bool) -> None:  # noqa: FBT001
    chunks = [ChatChunk(({"choices": [choice]},), b"") for choice in choices]
    assert is_good(chat(), chunks) is good


def test_which_embeddings_are_good() -> None:
    request = replace(chat(), operation=Operation.EMBEDDING)
    assert is_good(request, [ChatChunk(({"data": [{"embedding": [1]}]},), b"")])
    assert not is_good(request, [ChatChunk(({"data": []},), b"")])
    assert not is_good(request, [])
