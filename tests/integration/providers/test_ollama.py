"""The provider over real connections to an Ollama that answers, fails, or does not answer."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamError,
    UpstreamMisconfiguredError,
    UpstreamModelMissingError,
    UpstreamRejectedError,
    UpstreamTimeoutError,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import ChatProvider
from ailb_server.providers import ollama as ollama_module
from ailb_server.providers.ollama import OllamaProvider, OllamaServer
from ailb_server.providers.upstream import Timeouts, Upstream
from tests.support.ollama_upstream import OllamaUpstream, Script, last_line, line, ndjson
from tests.unit.doubles import chat

_PATIENT = Timeouts(connect_s=5, first_token_s=20, between_tokens_s=20, total_s=20)
_HASTY = Timeouts(connect_s=5, first_token_s=0.3, between_tokens_s=0.3, total_s=20)
_BOTH_WAYS = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture
async def ollama() -> AsyncIterator[OllamaUpstream]:
    upstream = OllamaUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def providers() -> AsyncIterator[list[OllamaProvider]]:
    """Those that a test opened; they are closed for it."""
    opened: list[OllamaProvider] = []
    yield opened
    for provider in opened:
        await provider.close()


class _Open:
    """Opens providers at the upstream."""

    def __init__(self, ollama: OllamaUpstream, opened: list[OllamaProvider]) -> None:
        self.ollama = ollama
        self._opened = opened

    def __call__(
        self, timeouts: Timeouts = _PATIENT, num_ctx: int = 8192, **server: Any
    ) -> ChatProvider:
        upstream = Upstream("o", timeouts=timeouts, pool_size=10)
        place = OllamaServer(self.ollama.url + "/", num_ctx, **server)
        self._opened.append(OllamaProvider("o", place, upstream))
        return self._opened[-1]


@pytest.fixture
def at(ollama: OllamaUpstream, providers: list[OllamaProvider]) -> _Open:
    return _Open(ollama, providers)


async def _chunks(provider: ChatProvider, **request: Any) -> list[ChatChunk]:
    async with provider.open(chat(**request), "llama3.2:3b") as answer:
        return [chunk async for chunk in answer.chunks]


async def test_a_whole_answer(at: _Open) -> None:
    (chunk,) = await _chunks(at())
    assert json.loads(chunk.wire)["choices"][0]["message"]["content"] == "Hello"
    assert chunk.usage == TokenUsage(7, 2)
    (received,) = at.ollama.received
    assert received.path == "/api/chat"
    assert received.body["stream"] is False
    assert received.body["options"] == {"num_ctx": 8192}
    assert "Authorization" not in received.headers


async def test_a_stream(at: _Open) -> None:
    chunks = await _chunks(at(), stream=True)
    text = b"".join(chunk.wire for chunk in chunks)
    assert text.endswith(b"data: [DONE]\n\n")
    assert b'"content":"Hello"' in text
    assert b'"choices":[]' not in text
    assert [chunk.usage for chunk in chunks if chunk.usage] == [TokenUsage(7, 2)]
    assert at.ollama.received[0].body["stream"] is True


async def test_lines_that_come_together_leave_together(at: _Open) -> None:
    at.ollama.script = Script(body=ndjson([*[line("a")] * 50, last_line()]))
    assert len(await _chunks(at(), stream=True)) == 1


async def test_a_proxy_gets_its_key_and_headers(at: _Open) -> None:
    provider = at(api_key="k-1", headers={"x-team": "a"})
    await _chunks(provider)
    await provider.list_models()
    for received in at.ollama.received:
        assert received.headers["Authorization"] == "Bearer k-1"
        assert received.headers["x-team"] == "a"
    assert "k-1" not in repr(OllamaServer("http://x", 1, api_key="k-1"))


async def test_what_is_ignored_is_told_before_the_answer(at: _Open) -> None:
    async with at().open(chat(user="ann"), "m") as answer:
        assert answer.ignored == ("user",)


async def test_what_cannot_be_done_is_not_sent(at: _Open) -> None:
    with pytest.raises(InvalidRequestError):
        await _chunks(at(), n=2)
    assert at.ollama.received == []


async def test_a_prompt_beyond_the_context_is_warned_of(
    at: _Open, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await _chunks(at(num_ctx=64))
        assert caplog.messages == []
        await _chunks(at(num_ctx=64), messages=[{"role": "user", "content": "secret " * 99}])
    (message,) = caplog.messages
    assert "num_ctx 64" in message
    assert "secret" not in message
    assert at.ollama.received[-1].body["options"]["num_ctx"] == 64


@_BOTH_WAYS
async def test_the_connection_is_used_again(at: _Open, *, stream: bool) -> None:
    provider = at()
    for _ in range(3):
        await _chunks(provider, stream=stream)
    ports = {received.peer for received in at.ollama.received}
    assert len(ports) == 1


@_BOTH_WAYS
async def test_a_redirect_is_the_operators_to_mend(at: _Open, *, stream: bool) -> None:
    at.ollama.script = Script(body=b'{"error":"x"}', status=307, headers={"Location": "/api/chat"})
    with pytest.raises(UpstreamMisconfiguredError):
        await _chunks(at(), stream=stream)
    assert len(at.ollama.received) == 1


async def test_an_unknown_model_is_told_as_openai_tells_it(at: _Open) -> None:
    at.ollama.script = Script(body=b'{"error":"model \'m\' not found"}', status=404)
    with pytest.raises(UpstreamModelMissingError) as raised:
        await _chunks(at())
    reply = raised.value.reply
    assert (reply.status, reply.content_type) == (404, "application/json")
    assert json.loads(reply.body)["error"]["code"] == "model_not_found"
    assert raised.value.failover


@_BOTH_WAYS
async def test_half_a_line_is_no_answer(at: _Open, *, stream: bool) -> None:
    at.ollama.script = Script(body=ndjson([line("a")])[:20])
    with pytest.raises(UpstreamUnavailableError):
        await _chunks(at(), stream=stream)


@_BOTH_WAYS
async def test_an_error_is_not_quoted(at: _Open, *, stream: bool) -> None:
    at.ollama.script = Script(body=b'{"error":"llama runner process has terminated"}\n')
    with pytest.raises(UpstreamUnavailableError) as raised:
        await _chunks(at(), stream=stream)
    assert "terminated" not in str(raised.value)


async def test_what_came_before_the_break_is_told(at: _Open) -> None:
    at.ollama.script = Script([line("a"), line("b")], fault="hold")
    seen: list[ChatChunk] = []
    async with at().open(chat(stream=True), "m") as answer:
        with pytest.raises(UpstreamUnavailableError):
            async for chunk in answer.chunks:
                seen.append(chunk)
                if b'"content":"b"' in b"".join(c.wire for c in seen):
                    at.ollama.break_off.set()
    assert b'"content":"a"' in b"".join(chunk.wire for chunk in seen)


async def test_models_are_what_it_has_now(at: _Open) -> None:
    provider = at()
    assert await provider.list_models() == ["llama3.2:3b"]
    at.ollama.models = ["a:latest", "b:7b"]
    assert await provider.list_models() == ["a:latest", "b:7b"]
    at.ollama.models = []
    assert await provider.list_models() == []


async def test_a_listing_waits_less_than_an_answer(
    at: _Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama_module, "_LISTING_TIMEOUT_S", 0.2)
    at.ollama.tags = Script(fault="stall")
    with pytest.raises(UpstreamTimeoutError):
        await at().list_models()


@pytest.mark.parametrize(
    ("tags", "error"),
    [
        (Script(status=404), UpstreamRejectedError),
        (Script(fault="stall"), UpstreamTimeoutError),
        (Script(fault="stall_headers"), UpstreamTimeoutError),
    ],
)
async def test_a_listing_that_fails_says_how(
    at: _Open, tags: Script, error: type[UpstreamError]
) -> None:
    at.ollama.tags = tags
    with pytest.raises(UpstreamError) as raised:
        await at(_HASTY).list_models()
    assert type(raised.value) is error
