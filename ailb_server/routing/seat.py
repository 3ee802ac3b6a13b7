"""A target among those that a name stands for: what the strategies choose from."""

import math

from ailb_server.domain.target import Target
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.limits import Gate
from ailb_server.routing.state import TargetState

# What an answer takes where none was seen yet.
DEFAULT_COMPLETION_TOKENS = 300.0


class Seat:
    """One (name, target). `turn` is round robin's: each name has its own round."""

    __slots__ = (
        "completion_price",
        "gate",
        "lightness",
        "priced",
        "prompt_price",
        "state",
        "target",
        "turn",
        "weight",
    )

    def __init__(self, target: Target, state: TargetState, gate: Gate | None = None) -> None:
        self.target = target
        self.state = state
        self.gate = gate
        self.weight = target.weight
        self.lightness = 1 / target.weight
        self.turn = 0
        price = target.price
        self.priced = price is not None
        self.prompt_price: float = price.prompt if price else math.inf
        self.completion_price: float = price.completion if price else math.inf

    def admits(self, facts: RequestFacts, now: float, *, last_resort: bool = False) -> bool:
        """Whether it may be asked now: not cooling, not full, and dark only as the last resort."""
        admits = self.state.admits_last_resort if last_resort else self.state.admits
        return admits(now) and (self.gate is None or self.gate.wait_s(now, self.tokens(facts)) <= 0)

    def blocked_by(self, facts: RequestFacts, now: float) -> str:
        """Why it may not; empty if it may."""
        reason = self.state.blocked_by(now)
        if reason or self.gate is None or self.gate.wait_s(now, self.tokens(facts)) <= 0:
            return reason
        return "full"

    def wait_s(self, facts: RequestFacts, now: float) -> float:
        """Seconds until it may be asked again, as far as is known; 0 is now."""
        breaker = self.state.breaker
        wait = max(0.0, self.state.ready_at - now, breaker.probe_until - now)
        return wait if self.gate is None else max(wait, self.gate.wait_s(now, self.tokens(facts)))

    def only_limited(self, now: float) -> bool:
        """What keeps it from being asked, if anything does, is its provider's limit alone."""
        return self.state.only_limited(now)

    def tokens(self, facts: RequestFacts) -> int:
        """What the request is expected to take of the provider's tokens; 0 if it counts none."""
        if self.gate is None or not self.gate.counts_tokens:
            return 0
        expected = facts.prompt_tokens + int(self.completion_tokens(facts))
        return min(expected, self.gate.most_tokens)

    async def supplied(self, facts: RequestFacts) -> None:
        """Asks for a place at its provider, where that is not known; an attempt then tells."""
        if self.gate is not None:
            await self.gate.supplied(self.tokens(facts))

    def completion_tokens(self, facts: RequestFacts) -> float:
        """What an answer of this target has taken on average, within what the caller allows."""
        mean, allowed = self.state.completion.value, facts.max_output_tokens
        if mean is None:
            mean = DEFAULT_COMPLETION_TOKENS * facts.choices
        # Not `min`: this is worked out for every target of every request.
        return mean if mean < allowed else allowed

    def expected_cost(self, facts: RequestFacts) -> float:
        """Of this request, in millionths of a micro-dollar; infinite without a price."""
        if not self.priced:
            # Not infinity times the tokens: an embedding has none to complete, and that is no cost.
            return math.inf
        return (
            facts.prompt_tokens * self.prompt_price
            + self.completion_tokens(facts) * self.completion_price
        )
