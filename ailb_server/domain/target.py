"""One model at one provider."""

from dataclasses import dataclass

from ailb_server.domain.chat import Operation


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars for a million tokens, so that a token's price is exact in integers."""

    prompt: int = 0
    completion: int = 0
    cached: int | None = None
    cache_write: int | None = None


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a model is declared to do. None is unknown, and unknown is allowed.

    `context` is in tokens, prompt and answer together.
    """

    vision: bool | None = None
    tools: bool | None = None
    json_schema: bool | None = None
    context: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request can go: `model` is the name that `provider` knows it by.

    `operations` are those that the provider has at all, whether or not this model serves them.
    """

    provider: str
    model: str
    weight: int = 1
    price: Price | None = None
    capabilities: Capabilities | None = None
    operations: frozenset[Operation] = frozenset(Operation)
