"""Texts as vectors: the space they live in, and the port that puts them there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

# One dimension, float32.
Vector: TypeAlias = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Vectors of one space may be compared, and no others.

    `model` is the name as configured; `normalised` vectors have the length 1.
    """

    model: str
    dimension: int
    normalised: bool = True


class Embedder(Protocol):
    """Turns texts into vectors, bounded in time and in what waits."""

    @property
    def space(self) -> EmbeddingSpace | None:
        """The space of its vectors; None while it is not known: not started yet, or no embedder."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """One vector for each text, in order; a text beyond the model's length is cut.

        Raises EmbedderUnavailableError.
        """
        ...
