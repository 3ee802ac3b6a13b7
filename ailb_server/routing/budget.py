"""How many tries beyond the first all requests together may take."""

import time
from collections.abc import Callable

from ailb_server.routing.window import SlidingSum

_WINDOW_S = 10


class RetryBudget:
    """Over any ten seconds: `share` of the requests, and `per_s` a second besides.

    Without the latter an idle instance could never retry. As Finagle's RetryBudget.
    """

    def __init__(
        self,
        *,
        share: float = 0.2,
        per_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = share
        self._floor = per_s * _WINDOW_S
        self._clock = clock
        self._requests = SlidingSum(_WINDOW_S, _WINDOW_S)
        self._retries = SlidingSum(_WINDOW_S, _WINDOW_S)

    def request(self) -> None:
        """A request begins."""
        self._requests.add(self._clock(), 1)

    def take(self) -> bool:
        """Whether one more try may be made; if so, it is counted."""
        now = self._clock()
        allowed = self._floor + self._share * self._requests.total(now)
        if self._retries.total(now) + 1 > allowed:
            return False
        self._retries.add(now, 1)
        return True
