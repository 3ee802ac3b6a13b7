"""An answer with what AILB tells beside it."""

from collections.abc import Iterable
from dataclasses import dataclass

from ailb_client._gen.ailb.v1 import ChatCompletion, CreateEmbeddingsResponse


@dataclass(frozen=True, slots=True)
class Served:
    """How AILB served a call, from the call's initial metadata. None: not told."""

    request_id: str | None
    """Finds the call in AILB's log."""
    provider: str | None
    """The provider that answers, such as `openai`."""
    model: str | None
    """The model that answers, as the provider names it."""
    overhead_ms: float | None
    """What AILB added before the first byte, in milliseconds."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer, and how it was served."""

    completion: ChatCompletion
    served: Served


@dataclass(frozen=True, slots=True)
class EmbeddingAnswer:
    """Embeddings in the inputs' order, with their usage, and how they were served."""

    response: CreateEmbeddingsResponse
    served: Served


def served(metadata: Iterable[tuple[str, str | bytes]]) -> Served:
    """Reads `x-request-id`, `x-ailb-provider`, `x-ailb-model` and `x-ailb-overhead-ms`."""
    told = {key: value for key, value in metadata if isinstance(value, str)}
    return Served(
        told.get("x-request-id"),
        told.get("x-ailb-provider"),
        told.get("x-ailb-model"),
        _number(told.get("x-ailb-overhead-ms")),
    )


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None
