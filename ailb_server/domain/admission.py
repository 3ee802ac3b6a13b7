"""Whether a request may run now: the seam between the pipeline and limits and budgets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from ailb_server.domain.chat import ChatChunk, ChatRequest, TokenUsage
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Target


@dataclass(frozen=True, slots=True)
class Settled:
    """What a request came to. `estimated`: the provider told no usage, as when the caller left in
    the middle; it is then worked out from what was seen."""

    usage: TokenUsage
    cost_micro_dollars: int
    estimated: bool = False


class Admitted(Protocol):
    """A request that may run."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """`x-ratelimit-*`, as of now."""
        ...

    def saw(self, chunk: ChatChunk) -> None:
        """A piece of its answer."""
        ...

    def ended(self) -> None:
        """That was the last piece."""
        ...

    def settle(self, target: Target | None) -> Settled:
        """It has ended, in whatever way; to be called once. `target` answered, None if none did."""
        ...


class Admission(Protocol):
    """Lets requests in."""

    async def admit(self, who: Principal, request: ChatRequest) -> Admitted:
        """Raises RateLimitExceededError, BudgetExceededError, PermissionDeniedError (a model
        without a price, where that is denied) or StorageUnavailableError."""
        ...
