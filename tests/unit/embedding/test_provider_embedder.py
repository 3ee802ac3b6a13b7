"""A provider's embeddings as vectors: in order, in bounded requests, its faults as one error."""

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson
import pytest

from ailb_server.domain.chat import ChatChunk, ChatRequest, Operation
from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.domain.errors import (
    EmbedderUnavailableError,
    UpstreamRejectedError,
    UpstreamReply,
    UpstreamUnavailableError,
)
from ailb_server.embedding.provider_embedder import ProviderEmbedder, ProviderRules
from tests.support.embedding import Silent


@dataclass
class Answer:
    chunks: AsyncIterator[ChatChunk]


@dataclass
class Pipeline:
    """Answers each text with its length and its first letter, as a vector."""

    requests: list[ChatRequest] = field(default_factory=list)
    fault: Exception | None = None
    answer: Any = None
    hang: bool = False
    dimension: int = 3

    @asynccontextmanager
    async def open(self, request: ChatRequest) -> AsyncIterator[Answer]:
        self.requests.append(request)
        if self.fault:
            raise self.fault
        if self.hang:
            await asyncio.Event().wait()
        yield Answer(self._chunks(request))

    async def _chunks(self, request: ChatRequest) -> AsyncIterator[ChatChunk]:
        body = orjson.loads(request.body)
        listed = self.answer or {
            "data": [
                {"index": i, "embedding": [float(len(t)), float(ord(t[0])), *[0.5] * self._rest()]}
                for i, t in enumerate(body["input"])
            ][::-1]
        }
        yield ChatChunk((listed,), b"")

    def _rest(self) -> int:
        return self.dimension - 2


def embedder(pipeline: Pipeline, **rules: Any) -> ProviderEmbedder:
    return ProviderEmbedder(pipeline, "openai/embed", Silent(), ProviderRules(**rules))


async def test_vectors_are_of_length_one_and_in_order() -> None:
    pipeline = Pipeline()
    mine = embedder(pipeline)
    assert mine.space is None
    vectors = await mine.embed(["a", "bb", "a"])
    assert mine.space == EmbeddingSpace("openai/embed", 3)
    assert [round(float(np.linalg.norm(v)), 6) for v in vectors] == [1.0, 1.0, 1.0]
    expected = np.array([2.0, 98.0, 0.5]) / np.linalg.norm([2.0, 98.0, 0.5])
    assert np.allclose(vectors[1], expected)
    assert np.array_equal(vectors[0], vectors[2])
    (request,) = pipeline.requests
    assert request.operation is Operation.EMBEDDING
    assert request.model == "openai/embed"
    assert orjson.loads(request.body)["input"] == ["a", "bb"]


async def test_a_text_that_was_asked_for_lately_costs_nothing() -> None:
    pipeline = Pipeline()
    mine = embedder(pipeline)
    await mine.embed(["a"])
    await mine.embed(["a"])
    await mine.bulk.embed(["a"])
    assert len(pipeline.requests) == 1


async def test_requests_are_bounded() -> None:
    pipeline = Pipeline()
    mine = embedder(pipeline, texts=2, characters=10)
    texts = ["a", "b", "c", "d" * 9, "e" * 9, ""]
    vectors = await mine.bulk.embed(texts)
    assert len(vectors) == len(texts)
    sent = [orjson.loads(r.body)["input"] for r in pipeline.requests]
    assert sent == [["a", "b"], ["c", "d" * 9], ["e" * 9, " "]]


async def test_base64_is_read_too() -> None:
    packed = base64.b64encode(np.array([3.0, 4.0], dtype="<f4").tobytes()).decode()
    mine = embedder(Pipeline(answer={"data": [{"index": 0, "embedding": packed}]}))
    (vector,) = await mine.embed(["a"])
    assert np.allclose(vector, [0.6, 0.8])


@pytest.mark.parametrize(
    "data",
    [
        [],
        [{"index": 0, "embedding": [1, 2]}, {"index": 1, "embedding": [1, 2]}],
        [{"index": 0, "embedding": []}],
        [{"index": 0, "embedding": [0, 0]}],
        [{"index": 0, "embedding": ["a"]}],
        [{"index": 0, "embedding": [None]}],
        [{"index": 0, "embedding": "?"}],
        [{"index": 0}],
        ["x"],
        None,
    ],
)
async def test_an_answer_that_is_none_is_an_error(data: Any) -> None:
    with pytest.raises(EmbedderUnavailableError):
        await embedder(Pipeline(answer={"data": data})).embed(["a"])


async def test_a_providers_fault_is_told_and_passes() -> None:
    pipeline = Pipeline(fault=UpstreamUnavailableError("The provider is gone.", provider="openai"))
    mine = embedder(pipeline)
    with pytest.raises(EmbedderUnavailableError, match="is gone"):
        await mine.embed(["a"])
    health = mine.health()
    assert (health.works, health.problem) == (False, "openai/embed: The provider is gone.")
    pipeline.fault = None
    await mine.embed(["a"])
    assert (mine.health().works, mine.health().problem) == (True, "")


async def test_a_providers_words_are_not_told() -> None:
    """They may quote a text, and its fault is told to everybody."""
    reply = UpstreamReply(400, "application/json", b"{}")
    fault = UpstreamRejectedError("cannot embed: my secret diary", reply, provider="p")
    mine = embedder(Pipeline(fault=fault))
    with pytest.raises(EmbedderUnavailableError) as refused:
        await mine.embed(["my secret diary"])
    assert "diary" not in str(refused.value) + mine.health().problem
    assert "400" in mine.health().problem


async def test_another_dimension_is_not_another_space() -> None:
    pipeline = Pipeline()
    mine = embedder(pipeline)
    await mine.embed(["a"])
    pipeline.dimension = 4
    with pytest.raises(EmbedderUnavailableError, match="4 dimensions instead of 3"):
        await mine.embed(["b"])


async def test_a_provider_that_hangs_is_not_waited_for() -> None:
    mine = embedder(Pipeline(hang=True), query_s=0.05, calls=1)
    first = asyncio.create_task(mine.embed(["a"]))
    await asyncio.sleep(0)
    with pytest.raises(EmbedderUnavailableError, match="Too many"):
        await mine.embed(["b"])
    with pytest.raises(EmbedderUnavailableError, match="within"):
        await first


async def test_its_space_is_learnt_at_the_start_once_it_answers() -> None:
    pipeline = Pipeline(fault=UpstreamUnavailableError("Not yet.", provider="openai"))
    mine = embedder(pipeline, learn_again_s=(0.001,))
    mine.start()
    async with asyncio.timeout(5):
        while len(pipeline.requests) < 3:  # noqa: ASYNC110 - the embedder changes it
            await asyncio.sleep(0.001)
        assert mine.space is None
        pipeline.fault = None
        while mine.space is None:  # noqa: ASYNC110 - the embedder changes it
            await asyncio.sleep(0.001)
    await mine.close()
    assert mine.health().problem == ""
