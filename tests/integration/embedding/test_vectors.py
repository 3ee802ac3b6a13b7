"""The vectors are the model's own: those that sentence-transformers computes."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from ailb_server.domain.embedding import EmbeddingSpace
from ailb_server.embedding.encoder import unit
from ailb_server.embedding.loading import ModelSpec, Runtime, load
from ailb_server.embedding.local import LocalEmbedder
from tests.support.embedding import DIMENSION, NAME

pytestmark = pytest.mark.asyncio(loop_scope="module")

RUNTIMES: tuple[Runtime, ...] = ("onnx", "torch")

# By sentence-transformers 6.2 with torch 2.13 in float32: the first six and the last three numbers.
# The second text is longer than the 256 tokens that the model reads.
REFERENCE = {
    "The cat sits on the mat.": (
        (0.134177, -0.0329, -0.024804, 0.041439, -0.036348, 0.041814),
        (0.05107, 0.020302, 0.060122),
    ),
    "word " * 400: (
        (-0.008124, -0.095586, -0.038673, 0.049662, -0.043794, 0.02372),
        (-0.022932, 0.087092, 0.015241),
    ),
}


async def test_they_are_sentence_transformers_own(embedder: LocalEmbedder) -> None:
    vectors = await embedder.embed(list(REFERENCE))
    for vector, (first, last) in zip(vectors, REFERENCE.values(), strict=True):
        assert vector.shape == (DIMENSION,)
        assert np.allclose(vector[:6], first, atol=2e-6)
        assert np.allclose(vector[-3:], last, atol=2e-6)


async def test_the_space_and_the_length(embedder: LocalEmbedder) -> None:
    assert embedder.space == EmbeddingSpace(NAME, DIMENSION, normalised=True)
    assert embedder.bulk.space == embedder.space
    for vector in await embedder.embed(["a", "b" * 5000, "", "\ud800\0", "日本語のテキスト"]):
        assert vector.dtype == np.float32
        assert abs(float(np.linalg.norm(vector)) - 1.0) < 1e-5


async def test_what_is_alike_lies_close(embedder: LocalEmbedder) -> None:
    question, answer, other = await embedder.embed(
        ["How do I reset my password?", "Resetting a forgotten password", "Bananas are yellow."]
    )
    assert question @ answer > 0.7
    assert question @ other < 0.2


async def test_company_does_not_change_a_vector(embedder: LocalEmbedder) -> None:
    texts = [f"text number {n} " * (1 + 7 * n) for n in range(20)]
    together = await embedder.bulk.embed(texts)
    alone = [(await embedder.bulk.embed([text]))[0] for text in texts[:4]]
    for one, other in zip(alone, together, strict=False):
        assert np.allclose(one, other, atol=2e-6)


async def test_a_text_costs_the_tokens_it_has(embedder: LocalEmbedder) -> None:
    # The tokenizer's file says: pad every text to 128.
    found = await embedder.counted(["hello", "The cat sits on the mat.", "word " * 400])
    assert [embedded.tokens for embedded in found] == [3, 9, 256]


async def test_many_callers_get_their_own(embedder: LocalEmbedder) -> None:
    texts = [f"caller {n}" for n in range(40)]
    found = await asyncio.gather(*(embedder.embed([text]) for text in texts))
    again = await embedder.bulk.embed(texts)
    for (one,), other in zip(found, again, strict=True):
        assert np.allclose(one, other, atol=2e-6)


async def test_the_same_text_is_computed_once(embedder: LocalEmbedder) -> None:
    (first,) = await embedder.embed(["only once"])
    (second,) = await embedder.embed(["only once"])
    assert second is first


@pytest.mark.usefixtures("torch_runtime")
async def test_both_runtimes_agree(model_directory: Path) -> None:
    texts = [*REFERENCE, "SELECT * FROM users;", "Ünïcödé", "a"]
    by = {}
    for runtime in RUNTIMES:
        spec = ModelSpec(str(model_directory), None, runtime)
        name, encoder = load(spec, lambda done, total: None)
        assert name == runtime
        by[runtime] = unit(encoder.encode(texts))
        assert encoder.max_tokens == 256
        assert encoder.count("The cat sits on the mat.") == 9
    # In bfloat16, where the CPU has it.
    assert (by["onnx"] * by["torch"]).sum(axis=1).min() > 0.9995
