"""Embeddings and the older completions at an upstream of OpenAI's format."""

from dataclasses import replace
from typing import cast

import pytest

from ailb_server.domain.chat import ChatChunk, ChatRequest, Operation, TokenUsage
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.domain.ports import CompletionProvider, EmbeddingProvider
from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Upstream
from tests.unit.doubles import chat
from tests.unit.providers.test_openai import FakeAccount, FakeReply, FakeUpstream

_LIST = b'{ "data": [ {"embedding":[1.50]} ], "usage":{"prompt_tokens":7,"total_tokens":7} }'
_A = b'data: {"choices":[{"text":"a"}],"usage":null}\n\n'
_USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":7}}\n\n'
_DONE = b"data: [DONE]\n\n"
_EMBED = replace(chat(input="a"), operation=Operation.EMBEDDING)


def _provider(upstream: FakeUpstream) -> OpenAIProvider:
    return OpenAIProvider("p", cast("OpenAIAccount", FakeAccount()), cast("Upstream", upstream))


async def _embedded(upstream: FakeUpstream, request: ChatRequest) -> list[ChatChunk]:
    async with _provider(upstream).open_embedding(request, "vendor/m") as answer:
        return [chunk async for chunk in answer.chunks]


def test_it_has_every_operation() -> None:
    provider = _provider(FakeUpstream(FakeReply([])))
    assert isinstance(provider, CompletionProvider)
    assert isinstance(provider, EmbeddingProvider)


async def test_embeddings_pass_byte_for_byte() -> None:
    body = b'{"rag_top_k":1, "input" : [ "a" ],"x":1E2,"model":"m"}'
    request = replace(_EMBED, body=body, own_fields=frozenset({"rag_top_k"}))
    upstream = FakeUpstream(FakeReply([_LIST[:9], _LIST[9:]]))
    (chunk,) = await _embedded(upstream, request)
    assert (chunk.wire, chunk.usage) == (_LIST, TokenUsage(prompt=7))
    ((url, sent),) = upstream.sent
    assert str(url) == "http://upstream/v1/embeddings"
    assert sent == b'{"input" : [ "a" ],"x":1E2,"model":"vendor/m"}'
    assert upstream.released


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", _LIST[:-9], b"[]", b"{}", b'{"data":{}}', b'{"error":{"code":"x"},"data":[]}'],
)
async def test_bad_embeddings_are_unavailable(body: bytes) -> None:
    with pytest.raises(UpstreamUnavailableError):
        await _embedded(FakeUpstream(FakeReply([body])), _EMBED)


async def test_a_completion_is_streamed_and_metered() -> None:
    upstream = FakeUpstream(FakeReply([_A, _USAGE, _DONE]))
    request = chat(stream=True)
    async with _provider(upstream).open_completion(request, "m") as answer:
        chunks = [chunk async for chunk in answer.chunks]
    assert b"".join(c.wire for c in chunks) == _A.replace(b',"usage":null', b"") + _DONE
    assert [c.usage for c in chunks if c.usage] == [TokenUsage(prompt=7)]
    ((url, sent),) = upstream.sent
    assert str(url) == "http://upstream/v1/completions"
    assert b'"include_usage":true' in sent


async def test_each_path_has_its_template() -> None:
    upstream = FakeUpstream(FakeReply([_LIST]))
    provider = _provider(upstream)
    for opening in (provider.open_embedding, provider.open_completion, provider.open_embedding):
        async with opening(chat(), "m"):
            pass
    paths = ["/embeddings", "/completions", "/embeddings"]
    assert [url.path.removeprefix("/v1") for url, _ in upstream.sent] == paths
