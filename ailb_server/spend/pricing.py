"""What tokens cost, in whole micro-dollars."""

from ailb_server.domain.chat import TokenUsage
from ailb_server.domain.target import Price

_MILLION = 1_000_000


def cost_micro_dollars(usage: TokenUsage, price: Price) -> int:
    """Prompt, cache read, cache write and completion priced apart; rounded half up, once.

    Where no price for cached tokens is set, they cost what prompt tokens cost.
    """
    plain = max(0, usage.prompt - usage.cached - usage.cache_write)
    cached = price.prompt if price.cached is None else price.cached
    cache_write = price.prompt if price.cache_write is None else price.cache_write
    total = (
        plain * price.prompt
        + usage.cached * cached
        + usage.cache_write * cache_write
        + usage.completion * price.completion
    )
    return (total + _MILLION // 2) // _MILLION
