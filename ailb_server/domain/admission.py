"""Whether a request may run now: the seam between the pipeline and limits and budgets."""

from collections.abc import Sequence
from typing import Protocol

from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.limits import Settlement
from ailb_server.domain.principal import Principal
from ailb_server.domain.target import Target


class Admitted(Protocol):
    """A request that may run."""

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """`x-ratelimit-*`, as of now."""
        ...

    def settle(self, target: Target | None, usage: TokenUsage | None) -> Sequence[Settlement]:
        """It has ended, in whatever way; a second call does nothing. `target` answered and took
        `usage`, as told or as seen; None if none did. Returns what its row in the ledger is to
        have, and must be there before anybody else runs: see `Settlement`."""
        ...


class Admission(Protocol):
    """Lets requests in."""

    async def admit(self, who: Principal, request: ChatRequest) -> Admitted:
        """Raises RateLimitExceededError, BudgetExceededError, PermissionDeniedError (a model
        without a price, where that is denied) or StorageUnavailableError."""
        ...
