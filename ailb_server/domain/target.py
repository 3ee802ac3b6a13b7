"""One model at one provider."""

from dataclasses import dataclass

from ailb_server.domain.chat import Operation, TokenUsage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars for a million tokens, so that a token's price is exact in integers."""

    prompt: int = 0
    completion: int = 0
    cached: int | None = None
    cache_write: int | None = None

    def micro_dollars(self, usage: TokenUsage) -> int:
        """Prompt, cache read, cache write and completion priced apart; rounded half up, once.

        Where no price for cached tokens is set, they cost what prompt tokens cost.
        """
        plain = max(0, usage.prompt - usage.cached - usage.cache_write)
        cached = self.prompt if self.cached is None else self.cached
        cache_write = self.prompt if self.cache_write is None else self.cache_write
        total = (
            plain * self.prompt
            + usage.cached * cached
            + usage.cache_write * cache_write
            + usage.completion * self.completion
        )
        return (total + _MILLION // 2) // _MILLION


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

    def cost_of(self, usage: TokenUsage) -> int:
        """In micro-dollars; 0 if its price is not known."""
        return self.price.micro_dollars(usage) if self.price else 0
