"""The provider over a scripted connection: when a read counts as a sign of life."""

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
from multidict import CIMultiDict
from yarl import URL

from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers.account import RequestTemplate
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.anthropic_wire_models import ModelFacts
from ailb_server.providers.upstream import Upstream
from tests.support.anthropic_upstream import STREAM, sse
from tests.unit.doubles import chat
from tests.unit.providers.test_openai import FakeReply, FakeUpstream

_START, _PING, *_REST = STREAM


class FakeAccount:
    """Knows where to post to, and no models."""

    def template(self, path: str) -> RequestTemplate:
        return RequestTemplate(URL(f"http://upstream{path}"), CIMultiDict())

    async def models(self) -> Mapping[str, ModelFacts] | None:
        return None

    async def close(self) -> None:
        """Nothing is open."""


async def test_an_error_amid_a_relayed_stream_is_told_as_it_came() -> None:
    error = sse({"type": "error", "error": {"type": "overloaded_error", "message": "Busy"}})
    upstream = FakeUpstream(FakeReply([_START, b"".join(_REST[:2]) + error]))
    provider = AnthropicProvider(
        "p", cast("AnthropicAccount", FakeAccount()), cast("Upstream", upstream)
    )
    asked = replace(chat(stream=True), wire="anthropic")
    told = b""
    async with provider.open(asked, "m") as answer:
        with pytest.raises(UpstreamUnavailableError) as broken:
            async for chunk in answer.chunks:
                told += chunk.wire
    assert told + broken.value.event == b"".join([_START, *_REST[:2], error])


async def _streamed(*reads: bytes) -> tuple[list[ChatChunk], FakeUpstream]:
    upstream = FakeUpstream(FakeReply(reads))
    provider = AnthropicProvider(
        "p", cast("AnthropicAccount", FakeAccount()), cast("Upstream", upstream)
    )
    async with provider.open(chat(stream=True), "m") as answer:
        return [chunk async for chunk in answer.chunks], upstream


async def test_a_ping_is_a_sign_of_life_once_the_answer_has_begun() -> None:
    chunks, upstream = await _streamed(_PING, _PING, _START, _PING, b"".join(_REST))
    assert upstream.reply.tokens_seen == 3
    assert all(chunk.events for chunk in chunks)
    assert [str(url) for url, _ in upstream.sent] == ["http://upstream/v1/messages"]
    assert upstream.reply.is_told
    assert upstream.released


@pytest.mark.parametrize(
    "body",
    [
        b'{"type": "error", "error": {"type": "api_error", "message": "key sk-1"}}',
        b'{"input_tokens": "5"}',
        b"{}",
        b"no json",
    ],
)
async def test_a_count_that_is_none_is_the_providers_failure(body: bytes) -> None:
    upstream = FakeUpstream(FakeReply([body]))
    provider = AnthropicProvider(
        "p", cast("AnthropicAccount", FakeAccount()), cast("Upstream", upstream)
    )
    asked = replace(chat(), wire="anthropic")
    with pytest.raises(UpstreamUnavailableError) as failed:
        await provider.count_tokens(asked, "m")
    assert "sk-1" not in str(failed.value)
