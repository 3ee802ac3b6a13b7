"""The Anthropic provider over real connections: what it sends, its faults, its model listing."""

import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from tests.support.anthropic_upstream import (
    EVENT_STREAM,
    MODEL,
    STREAM,
    VERSION,
    AnthropicUpstream,
    Script,
    error_body,
    sse,
)
from tests.unit.doubles import chat

_LONG = Timeouts(20, 20, 20, 60)
_SHORT = Timeouts(20, 0.3, 0.3, 60)
_ERROR = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})


@pytest.fixture
async def upstream() -> AsyncIterator[AnthropicUpstream]:
    async with AnthropicUpstream() as server:
        yield server


@asynccontextmanager
async def provider_at(
    url: str,
    key: str | None = "sk-ant-x",
    headers: Mapping[str, str] | None = None,
    timeouts: Timeouts = _LONG,
) -> AsyncIterator[AnthropicProvider]:
    account = AnthropicAccount("anthropic", url, key, headers=headers or {})
    connections = Upstream("anthropic", timeouts=timeouts, pool_size=10)
    provider = AnthropicProvider("anthropic", account, connections, clock=lambda: 1_700_000_000.9)
    try:
        yield provider
    finally:
        await provider.close()


async def _answer(url: str, **request: Any) -> list[ChatChunk]:
    async with provider_at(url) as provider, provider.open(chat(**request), MODEL) as answer:
        return [chunk async for chunk in answer.chunks]


async def _fails(
    url: str, *, stream: bool, timeouts: Timeouts = _LONG
) -> tuple[list[ChatChunk], UpstreamError]:
    chunks: list[ChatChunk] = []
    with pytest.raises(UpstreamError) as raised:
        async with (
            provider_at(url, timeouts=timeouts) as provider,
            provider.open(chat(stream=stream), MODEL) as answer,
        ):
            async for chunk in answer.chunks:
                chunks.append(chunk)  # noqa: PERF401 - what came before the fault is wanted
    assert raised.value.facts["provider"] == "anthropic"
    return chunks, raised.value


async def test_a_whole_answer(upstream: AnthropicUpstream) -> None:
    async with (
        provider_at(upstream.url) as provider,
        provider.open(chat(temperature=0.5), MODEL) as answer,
    ):
        assert answer.ignored == ("temperature",)
        (chunk,) = [chunk async for chunk in answer.chunks]
    told = orjson.loads(chunk.wire)
    assert (told["id"], told["created"]) == ("chatcmpl-msg_01", 1_700_000_000)
    assert told["choices"][0]["message"]["content"] == "Hello!"
    assert chunk.usage == TokenUsage(prompt=12, completion=3)


async def test_a_streamed_answer(upstream: AnthropicUpstream) -> None:
    chunks = await _answer(upstream.url, stream=True)
    wire = b"".join(chunk.wire for chunk in chunks)
    assert b'"content":"Hello!"' in wire
    assert wire.endswith(b"data: [DONE]\n\n")
    assert b"usage" not in wire
    assert chunks[-1].usage == TokenUsage(prompt=12, completion=3)


@pytest.mark.parametrize("path", ["", "/", "/v1", "/v1/"])
async def test_the_credential_and_the_version_are_sent(
    upstream: AnthropicUpstream, path: str
) -> None:
    async with (
        provider_at(upstream.url + path, headers={"x-team": "a"}) as provider,
        provider.open(chat(), MODEL) as answer,
    ):
        assert [chunk async for chunk in answer.chunks]
    headers = {name.lower(): value for name, value in upstream.received[0].headers.items()}
    assert headers["authorization"] == "Bearer sk-ant-x"
    assert headers["anthropic-version"] == VERSION
    assert headers["content-type"] == "application/json"
    assert headers["x-team"] == "a"
    assert not [name for name in headers if name.startswith("x-stainless")]


async def test_without_a_key_no_credential_is_sent(
    upstream: AnthropicUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-of-the-machine")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-of-the-machine")
    async with provider_at(upstream.url, key=None) as provider:
        async with provider.open(chat(), MODEL) as answer:
            assert [chunk async for chunk in answer.chunks]
        await provider.list_models()
    headers = {name.lower() for name in upstream.received[0].headers}
    assert not headers & {"authorization", "x-api-key"}


async def test_what_cannot_be_translated_is_not_sent(upstream: AnthropicUpstream) -> None:
    with pytest.raises(InvalidRequestError):
        await _answer(upstream.url, n=2)
    assert not upstream.received


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, "invalid_request_error", None),
        (404, "not_found_error", "not_found_error"),
        (413, "request_too_large", "request_too_large"),
    ],
)
async def test_the_callers_fault_is_told_in_openais_shape(
    upstream: AnthropicUpstream, status: int, kind: str, code: str | None
) -> None:
    json = {"content-type": "application/json"}
    upstream.script = Script([error_body(kind, "it is refused")], status, json)
    _, raised = await _fails(upstream.url, stream=False)
    assert isinstance(raised, UpstreamRejectedError)
    assert (raised.reply.status, raised.reply.content_type) == (status, "application/json")
    assert orjson.loads(raised.reply.body)["error"] == {
        "message": "it is refused",
        "type": "invalid_request_error",
        "param": None,
        "code": code,
    }


async def test_a_refusal_of_another_shape_is_not_relayed(upstream: AnthropicUpstream) -> None:
    upstream.script = Script([b"<html>Bad Request</html>"], 400)
    _, raised = await _fails(upstream.url, stream=False)
    assert isinstance(raised, UpstreamRejectedError)
    assert (raised.reply.status, raised.reply.body) == (400, b"")


_FIRST = [
    ("cut-after-head", [], "reset", UpstreamUnavailableError),
    ("ping-then-error", [STREAM[1], _ERROR], "finish", UpstreamUnavailableError),
    ("ping-then-stall", [STREAM[1]], "stall", UpstreamTimeoutError),
    ("content-first", [STREAM[2]], "finish", UpstreamUnavailableError),
]
_LATER = [
    ("end-without-stop", STREAM[:6], "finish", UpstreamUnavailableError),
    ("cut-in-an-event", [*STREAM[:4], STREAM[4][:9]], "reset", UpstreamUnavailableError),
    ("unopened-block", [STREAM[0], STREAM[3]], "finish", UpstreamUnavailableError),
    ("begins-twice", [STREAM[0], STREAM[0]], "finish", UpstreamUnavailableError),
]


@pytest.mark.parametrize(
    ("pieces", "end", "error"), [row[1:] for row in _FIRST], ids=[row[0] for row in _FIRST]
)
async def test_a_stream_that_fails_before_its_first_chunk(
    upstream: AnthropicUpstream, pieces: list[bytes], end: str, error: type[UpstreamError]
) -> None:
    upstream.script = Script(pieces, headers=EVENT_STREAM, end=end)
    timeouts = _SHORT if end == "stall" else _LONG
    chunks, raised = await _fails(upstream.url, stream=True, timeouts=timeouts)
    assert not chunks
    assert type(raised) is error


@pytest.mark.parametrize(
    ("pieces", "end", "error"), [row[1:] for row in _LATER], ids=[row[0] for row in _LATER]
)
async def test_a_stream_that_fails_later_is_no_whole_answer(
    upstream: AnthropicUpstream, pieces: list[bytes], end: str, error: type[UpstreamError]
) -> None:
    upstream.script = Script(pieces, headers=EVENT_STREAM, end=end)
    chunks, raised = await _fails(upstream.url, stream=True)
    assert b"[DONE]" not in b"".join(chunk.wire for chunk in chunks)
    assert type(raised) is error


def _listed(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "type": "model", "lifecycle": "active", **fields}


async def test_models_are_listed_page_by_page() -> None:
    models = [_listed(f"claude-{n}") for n in range(5)]
    models.append(_listed("claude-old", lifecycle="retired"))
    async with AnthropicUpstream(models=models) as upstream, provider_at(upstream.url) as provider:
        assert await provider.list_models() == tuple(f"claude-{n}" for n in range(5))
        assert [page.get("after_id") for page in upstream.pages] == [None, "claude-1", "claude-3"]


async def test_a_listing_tells_what_a_model_takes() -> None:
    async with AnthropicUpstream(models=[_listed(MODEL, max_tokens=64_000)]) as upstream:
        async with provider_at(upstream.url) as provider:
            await provider.list_models()
            async with provider.open(chat(), MODEL) as answer:
                assert [chunk async for chunk in answer.chunks]
        assert upstream.received[0].body["max_tokens"] == 64_000


async def test_a_listing_of_another_shape(upstream: AnthropicUpstream) -> None:
    upstream.listing = Script([b"{}"], headers={"content-type": "application/json"})
    async with provider_at(upstream.url) as provider:
        with pytest.raises(UpstreamUnavailableError):
            await provider.list_models()


def test_the_server_does_without_the_providers_own_packages() -> None:
    """They take a second and a half and 90 MB to import."""
    told = "import sys, ailb_server.app; sys.exit(bool({'anthropic', 'openai'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", told], check=False).returncode == 0


async def test_a_server_without_a_listing(upstream: AnthropicUpstream) -> None:
    upstream.listing = Script(status=404)
    async with provider_at(upstream.url) as provider:
        assert await provider.list_models() is None
