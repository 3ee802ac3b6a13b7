"""Whether a request may run now: the seam between the pipeline and limits and budgets."""

from collections.abc import Sequence
from typing import Protocol

from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.domain.limits import Settlement
from ailb_server.domain.principal import Principal
from ailb_server.domain.route import Asker
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

    async def admit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """`asker` tells which route takes the request; without one, it is the first of its model's
        name. Raises RateLimitExceededError, BudgetExceededError, PermissionDeniedError (a model
        without a price, where that is denied) or StorageUnavailableError."""
        ...


class Readmission(Protocol):
    """Lets in what takes no tokens and costs nothing: what is answered anew, or only counted."""

    async def readmit(
        self, who: Principal, request: ChatRequest, asker: Asker | None = None
    ) -> Admitted:
        """As `admit`, by the limits of requests alone; to be settled with None.

        Raises RateLimitExceededError, StorageUnavailableError.
        """
        ...
