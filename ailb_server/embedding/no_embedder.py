"""The embedder that there is not."""

from collections.abc import Sequence

from ailb_server.domain.embedding import EmbeddingSpace, Vector
from ailb_server.domain.errors import EmbedderUnavailableError
from ailb_server.domain.health import PartHealth


class NoEmbedder:
    """Says why: nothing is installed, or EMBEDDING_BACKEND=none (`chosen`), which is no problem."""

    space: EmbeddingSpace | None = None

    def __init__(self, reason: str, *, chosen: bool) -> None:
        self._reason = reason
        self._chosen = chosen

    async def embed(self, texts: Sequence[str]) -> list[Vector]:
        """Raises EmbedderUnavailableError, always."""
        raise EmbedderUnavailableError(f"There are no embeddings: {self._reason}.")

    def health(self) -> PartHealth:
        """As `/healthz` tells it."""
        return PartHealth("embedder", "" if self._chosen else self._reason, works=self._chosen)
