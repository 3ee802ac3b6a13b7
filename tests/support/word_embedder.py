"""An embedder for tests: texts that share words are near each other, and nothing is learnt."""

import asyncio
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError

DIMENSION = 64


@dataclass
class HashingEmbedder:
    """Each word is a direction, chosen by its hash and the model's name.

    `fails`: as if the worker were down. `space` None: as if it had not started. `wait` is awaited
    before each answer; `texts` are all that were asked for.
    """

    space: EmbeddingSpace | None = field(
        default_factory=lambda: EmbeddingSpace("hashing", DIMENSION)
    )
    fails: bool = False
    wait: asyncio.Event | None = None
    texts: list[str] = field(default_factory=list)

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        if self.wait is not None:
            await self.wait.wait()
        if self.fails or self.space is None:
            raise EmbedderUnavailableError("The embedder is down.")
        self.texts.extend(texts)
        return [vector_of(text, self.space) for text in texts]


def vector_of(text: str, space: EmbeddingSpace) -> Vector:
    """Of the length 1, unless the text has no word: then it is 1 in the first direction."""
    total = np.zeros(space.dimension, dtype=np.float32)
    for word in re.findall(r"\w+", text.lower()):
        seed = hashlib.sha256(f"{space.model}\0{word}".encode()).digest()[:8]
        total += np.random.default_rng(int.from_bytes(seed, "big")).standard_normal(
            space.dimension, dtype=np.float32
        )
    if not total.any():
        total[0] = 1
    unit: Vector = total / np.float32(np.linalg.norm(total))
    return unit
