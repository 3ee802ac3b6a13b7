"""Both faces of embeddings over the pipeline."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import AsyncGeneratorType
from typing import Any, cast

import orjson
import pytest
from google.api.httpbody_pb2 import HttpBody

from ailb.openai.v1 import openai_service_pb2 as openai_pb
from ailb.v1 import embedding_pb2
from ailb.v1 import embedding_service_pb2 as pb
from ailb_server.api.embedding_service import EmbeddingService
from ailb_server.api.openai_service import OpenAIService
from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.errors import (
    InvalidRequestError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.domain.ports import ProviderAnswer
from tests.unit.api.calls import running
from tests.unit.doubles import FakeContext, FakeProvider, Observer
from tests.unit.pipeline.chats import pipeline_over

_WIRE = b'{ "data": [{"embedding":[1.50,2]}], "usage": {"prompt_tokens": 3} }'


@dataclass
class Embedder(FakeProvider):
    """A provider that embeds what it says."""

    def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        return self.open(request, model)


def _said(wire: bytes = _WIRE) -> ChatChunk:
    return ChatChunk((orjson.loads(wire),), wire, TokenUsage(prompt=3))


class _Run:
    """Both services over one provider."""

    def __init__(self, provider: FakeProvider) -> None:
        self.observer = Observer()
        pipeline = pipeline_over(self.observer, provider)
        self.openai, self.typed = OpenAIService(pipeline), EmbeddingService(pipeline)

    async def relay(self, context: FakeContext, **fields: Any) -> HttpBody:
        request = openai_pb.CreateEmbeddingRequest()
        request.body.data = orjson.dumps({"model": "m", "input": "hi", **fields})
        return await self.openai.CreateEmbedding(request, cast("Any", context))

    async def embed(self, context: FakeContext) -> pb.CreateEmbeddingsResponse:
        parameters = embedding_pb2.EmbeddingParameters(model="m", inputs=["hi"])
        request = pb.CreateEmbeddingsRequest(parameters=parameters)
        return await self.typed.CreateEmbeddings(request, cast("Any", context))


def _check_metadata(context: FakeContext) -> None:
    assert context.initial["x-request-id"] == "r-1"
    assert (context.initial["x-ailb-provider"], context.initial["x-ailb-model"]) == ("p", "m")
    assert float(context.initial["x-ailb-overhead-ms"]) >= 0


async def test_the_answer_is_relayed_as_json() -> None:
    run = _Run(Embedder(says=[_said()]))
    with running(rest=True) as context:
        body = await run.relay(context)
    assert (body.content_type, body.data) == ("application/json", _WIRE)
    _check_metadata(context)
    (record,) = run.observer.records
    assert (record.outcome, record.usage, record.stream) == ("ok", TokenUsage(prompt=3), False)


async def test_a_typed_answer() -> None:
    run = _Run(Embedder(says=[_said()]))
    with running() as context:
        response = await run.embed(context)
    assert [list(e.values) for e in response.embeddings] == [[1.5, 2]]
    assert response.usage.prompt_tokens == 3
    _check_metadata(context)


async def test_a_refusal_is_relayed() -> None:
    reply = UpstreamReply(422, "application/json", b'{"error":{"message":"no",  "x":1e3}}')
    run = _Run(Embedder(refusal=UpstreamRejectedError("no", reply, provider="p")))
    with running(rest=True) as context:
        body = await run.relay(context)
    assert context.initial["x-http-status"] == "422"
    assert body.data == reply.body
    with running() as context, pytest.raises(UpstreamRejectedError):
        await run.embed(context)


async def test_a_bad_request_is_refused_before_the_pipeline() -> None:
    run = _Run(Embedder())
    with running(rest=True) as context:
        body = await run.relay(context, input=[])
    assert context.initial["x-http-status"] == "400"
    assert orjson.loads(body.data)["error"]["param"] == "input"
    assert run.observer.started == 0


async def test_a_provider_without_embeddings_is_a_400_that_names_the_model() -> None:
    run = _Run(FakeProvider(says=[_said()]))
    with running(rest=True) as context:
        body = await run.relay(context)
    error = orjson.loads(body.data)["error"]
    assert (context.initial["x-http-status"], error["param"]) == ("400", "model")
    assert "`m`" in error["message"]
    with running() as context, pytest.raises(InvalidRequestError):
        await run.embed(context)
    assert [record.outcome for record in run.observer.records] == ["invalid_request"] * 2


async def test_a_typed_answer_that_cannot_be_read_is_the_providers_fault() -> None:
    run = _Run(Embedder(says=[_said(b'{"data": []}')]))
    with running() as context, pytest.raises(UpstreamUnavailableError) as raised:
        await run.embed(context)
    assert raised.value.facts["provider"] == "p"
    assert context.initial == {}
    assert run.observer.records[0].outcome == "upstream_unavailable"


async def test_completions_are_refused_alike() -> None:
    run = _Run(Embedder(says=[_said()]))
    request = openai_pb.CreateCompletionRequest()
    with running(rest=True) as context:
        answer: Any = run.openai.CreateCompletion(request, cast("Any", context))
        # The edge closes generators only.
        assert type(answer) is AsyncGeneratorType
        (body,) = [body async for body in answer]
    assert orjson.loads(body.data)["error"]["param"] is None
    assert context.initial["x-http-status"] == "400"
