"""An embedder without a model: texts that share words have similar vectors."""

import asyncio
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError

DIMENSION = 64


class HashingEmbedder:
    """Deterministic. `down` makes it fail, `slow` never answer; `asked` are all texts it got."""

    def __init__(self, model: str = "hashing", dimension: int = DIMENSION) -> None:
        self.space: EmbeddingSpace | None = EmbeddingSpace(model, dimension)
        self.asked: list[str] = []
        self.down = False
        self.slow = False

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector of length 1 for each text."""
        self.asked.extend(texts)
        if self.slow:
            await asyncio.Event().wait()
        if self.down or self.space is None:
            raise EmbedderUnavailableError("The embedder is down.")
        return [self.vector(text) for text in texts]

    def vector(self, text: str) -> Vector:
        """The sum of its words' vectors, each drawn from the word's hash and the model's name."""
        assert self.space is not None
        total = np.zeros(self.space.dimension, dtype=np.float32)
        for word in text.lower().split() or [""]:
            digest = blake2b(f"{self.space.model} {word.strip('?.,!')}".encode(), digest_size=8)
            rng = np.random.default_rng(int.from_bytes(digest.digest(), "little"))
            total += rng.standard_normal(self.space.dimension).astype(np.float32)
        unit: Vector = total / np.linalg.norm(total)
        return unit
