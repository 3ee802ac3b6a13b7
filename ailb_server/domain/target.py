"""One model at one provider."""

from dataclasses import dataclass

from ailb_server.domain.chat import Operation, TokenUsage

_MILLION = 1_000_000


# Micro-dollars for a million tokens: a hundred times the dearest model there is; more is a slip.
MAX_PRICE = 10_000 * _MILLION


@dataclass(frozen=True, slots=True)
class Price:
    """Micro-dollars for a million tokens, so that a token's price is exact in integers.

    `tiers` are the prices of requests with longer prompts: of all their tokens, as vendors have it.
    Each is for prompts of more than so many tokens, the fewest first, and has no tiers of its own.
    """

    prompt: int = 0
    completion: int = 0
    cached: int | None = None
    cache_write: int | None = None
    reasoning: int | None = None
    tiers: tuple[tuple[int, "Price"], ...] = ()

    def at(self, prompt_tokens: int) -> "Price":
        """The prices of a request with so long a prompt."""
        price = self
        for above, tier in self.tiers:
            if prompt_tokens > above:
                price = tier
        return price

    def micro_dollars(self, usage: TokenUsage) -> int:
        """Prompt, cache read, cache write, reasoning and other completion priced apart; rounded
        half up, once.

        Where no price for cached tokens is set, they cost what prompt tokens cost; reasoning
        without one what completion costs.
        """
        price = self.at(usage.prompt) if self.tiers else self
        plain = max(0, usage.prompt - usage.cached - usage.cache_write)
        cached = price.prompt if price.cached is None else price.cached
        cache_write = price.prompt if price.cache_write is None else price.cache_write
        total = (
            plain * price.prompt
            + usage.cached * cached
            + usage.cache_write * cache_write
            + usage.completion * price.completion
        )
        if price.reasoning is not None:
            thought = min(usage.reasoning, usage.completion)
            total += thought * (price.reasoning - price.completion)
        return (total + _MILLION // 2) // _MILLION

    def highest(self) -> int:
        """The highest of all its prices."""
        own = (self.prompt, self.completion, self.cached, self.cache_write, self.reasoning)
        return max(
            price for price in (*own, *(t.highest() for _, t in self.tiers)) if price is not None
        )


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
