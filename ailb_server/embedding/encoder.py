"""What the worker asks of a model, whichever runtime it has."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

# Rows are texts; float32.
Matrix = npt.NDArray[np.float32]


class Encoder(Protocol):
    """A loaded model. Called from one thread at a time, except for `count`."""

    @property
    def max_tokens(self) -> int:
        """Where longer texts are cut."""
        ...

    def count(self, text: str) -> int:
        """The text's tokens, once it is cut, special ones included."""
        ...

    def encode(self, texts: Sequence[str]) -> Matrix:
        """One row for each text, of any length."""
        ...


def unit(vectors: Matrix) -> Matrix:
    """Every row scaled to the length 1, in float32; a row of zeros stays."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=1, keepdims=True)
    return (exact / np.where(lengths == 0.0, 1.0, lengths)).astype(np.float32)
