"""Every feature of a chat has a golden folder, for each kind of provider, streamed and whole; or
it is listed here as what the provider does not have."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import pytest

from ailb_server.domain.json_text import loads
from ailb_server.providers.sse import data_of, split_events
from tests.wire.joining import joined

Has: TypeAlias = Callable[[Any], object]

_WIRE = Path(__file__).parent
KINDS = ("openai", "anthropic", "ollama")


def _parts(asked: Any, kind: str) -> list[Any]:
    contents = [message.get("content") for message in asked["messages"]]
    parts = [part for c in contents if isinstance(c, list) for part in c]
    return [part for part in parts if part["type"] == kind]


def _images(asked: Any, start: str) -> bool:
    return any(p["image_url"]["url"].startswith(start) for p in _parts(asked, "image_url"))


def _turns(asked: Any, name: str) -> bool:
    return any(message.get(name) for message in asked["messages"])


def _role(name: str) -> Has:
    return lambda asked: any(message["role"] == name for message in asked["messages"])


def _named(name: str) -> Has:
    return lambda asked: asked.get(name) is not None


def _format(kind: str) -> Has:
    return lambda asked: (asked.get("response_format") or {}).get("type") == kind


_FIELDS = (
    "tools", "tool_choice", "parallel_tool_calls", "max_tokens", "max_completion_tokens",
    "temperature", "top_p", "reasoning_effort", "seed", "user", "metadata",
)  # fmt: skip
ASKED: Mapping[str, Has] = MappingProxyType(
    {
        **{role: _role(role) for role in ("system", "developer", "assistant", "tool")},
        **{name: _named(name) for name in _FIELDS},
        "parts of text": lambda asked: len(_parts(asked, "text")) > 1,
        "image, data URL": lambda asked: _images(asked, "data:"),
        "image, http URL": lambda asked: _images(asked, "http"),
        "calls before": lambda asked: _turns(asked, "tool_calls"),
        "thoughts before": lambda asked: _turns(asked, "reasoning_content"),
        "stop, one": lambda asked: isinstance(asked.get("stop"), str),
        "stop, several": lambda asked: isinstance(asked.get("stop"), list),
        "json_object": _format("json_object"),
        "json_schema": _format("json_schema"),
    }
)


def _message(answer: Any) -> Any:
    return answer["choices"][0]["message"]


def _ends(reason: str) -> Has:
    return lambda answer: answer["choices"][0]["finish_reason"] == reason


def _says(name: str) -> Has:
    return lambda answer: _message(answer).get(name)


def _counts(*path: str) -> Has:
    def has(answer: Any) -> object:
        value = answer.get("usage")
        for name in path:
            value = (value or {}).get(name)
        return value

    return has


ANSWERED: Mapping[str, Has] = MappingProxyType(
    {
        **{reason: _ends(reason) for reason in ("stop", "length", "tool_calls", "content_filter")},
        **{name: _says(name) for name in ("content", "refusal", "reasoning_content")},
        "one call": lambda answer: len(_message(answer).get("tool_calls") or ()) == 1,
        "calls in parallel": lambda answer: len(_message(answer).get("tool_calls") or ()) > 1,
        "beyond ASCII": lambda answer: not (_message(answer).get("content") or "").isascii(),
        "tokens": _counts("total_tokens"),
        "tokens cached": _counts("prompt_tokens_details", "cached_tokens"),
        "tokens cached anew": _counts("prompt_tokens_details", "cache_write_tokens"),
        "tokens of thoughts": _counts("completion_tokens_details", "reasoning_tokens"),
    }
)
# What Ollama's API has no word for. What it refuses has a folder too.
ABSENT = frozenset(
    {
        ("ollama", "content_filter"),
        ("ollama", "refusal"),
        ("ollama", "tokens cached"),
        ("ollama", "tokens cached anew"),
        ("ollama", "tokens of thoughts"),
    }
)


def _asked(kind: str, *, stream: bool) -> Iterator[Any]:
    """Each request: of other kinds than OpenAI's, all are tried both ways."""
    for path in (_WIRE / kind).glob("*/request.json"):
        asked = json.loads(path.read_bytes())
        if kind != "openai" or bool(asked.get("stream")) is stream:
            yield asked


def _answered(kind: str, *, stream: bool) -> Iterator[Any]:
    for folder in (_WIRE / kind).iterdir():
        name = "sse" if stream else "json"
        answer, relayed = folder / f"answer.{name}", folder / f"upstream_response.{name}"
        path = relayed if kind == "openai" and not answer.exists() else answer
        if path.exists():
            yield _stream(path.read_bytes()) if stream else json.loads(path.read_bytes())


def _stream(wire: bytes) -> Any:
    """The completion that a client makes of it; one that breaks off has no reason."""
    data = [data_of(event) for event in split_events(wire)]
    chunks = [loads(text) for text in data if text and text.endswith(b"}")]
    return joined(chunk for chunk in chunks if "choices" in chunk)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True])
def test_every_feature_has_a_folder(kind: str, *, stream: bool) -> None:
    asked, answered = list(_asked(kind, stream=stream)), list(_answered(kind, stream=stream))
    absent = {name for name, has in ASKED.items() if not any(map(has, asked))}
    absent |= {name for name, has in ANSWERED.items() if not any(map(has, answered))}
    assert absent == {name for other, name in ABSENT if other == kind}


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in KINDS for name in ("error", "ping")]
)
def test_streams_that_break_off_and_that_pause_have_a_folder(kind: str, name: str) -> None:
    if name == "error":
        assert list((_WIRE / kind).glob("*/fault.json"))
    elif kind != "ollama":
        streams = [path.read_bytes() for path in (_WIRE / kind).glob("*/upstream_response.sse")]
        assert any(b"ping" in stream for stream in streams)
