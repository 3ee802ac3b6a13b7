"""A provider's credential, as the answers of its targets tell of it."""

import logging
from typing import Protocol

from ailb_server.domain.errors import UpstreamMisconfiguredError
from ailb_server.routing.breaker import BreakerRules

_log = logging.getLogger(__name__)


class Dependent(Protocol):
    """A target of the provider. `answered_at` is when it last began to answer."""

    answered_at: float

    def refresh(self) -> None:
        """What the credential says of it has changed."""
        ...

    def pardoned(self) -> None:
        """The credential is accepted: a refusal of it says nothing any more."""
        ...


class Credential:
    """One provider's. Once refused, none of its targets is asked for `credential_s`; then one
    request at a time tries it, and the first that is answered, by any of them, frees all.

    Times are seconds of one monotonic clock. Attempts that began before the last change say nothing
    of it: a hundred that are refused together are one refusal.
    """

    __slots__ = (
        "_dependents",
        "_generation",
        "_provider",
        "_rules",
        "probe_until",
        "refused",
        "until",
    )

    def __init__(self, provider: str, rules: BreakerRules) -> None:
        self._provider = provider
        self._rules = rules
        self._dependents: list[Dependent] = []
        self._generation = 0
        self.refused = False
        # While it is refused, and while a probe keeps others away; 0 without.
        self.until = 0.0
        self.probe_until = 0.0

    @property
    def blocked_until(self) -> float:
        """Before it, none of the provider's targets is asked, but as the last resort."""
        return max(self.until, self.probe_until)

    def join(self, dependent: Dependent) -> None:
        """A target of the provider's becomes known."""
        self._dependents.append(dependent)
        dependent.refresh()

    def leave(self, dependent: Dependent) -> None:
        """It is no longer."""
        self._dependents.remove(dependent)

    def begin(self, now: float) -> int:
        """An attempt begins, as a probe if the credential is refused. To be given to its end."""
        if self.refused:
            self.probe_until = now + self._rules.patience_s
            self._tell()
        return self._generation

    def answered(self, generation: int) -> None:
        """The provider has begun to answer."""
        if not self.refused or not self.is_current(generation):
            return
        self._change(refused=False, until=0.0)
        for dependent in self._dependents:
            dependent.pardoned()
        _log.warning("provider %s: its credential is accepted again", self._provider)

    def is_current(self, generation: int) -> bool:
        """Whether an attempt began after the last change."""
        return generation == self._generation

    def failed(self, by: Dependent, error: UpstreamMisconfiguredError, now: float) -> bool:
        """A current attempt was refused. Whether that is more than a matter of its target `by`.

        A provider that knows the credential and forbids may forbid this model only: so it is while
        others of its targets are answered.
        """
        if error.forbids and not self.refused and self._others_answer(by, now):
            return False
        if not self.refused:
            _log.error(
                "provider %s refuses AILB's credential: none of its %d targets is asked",
                self._provider,
                len(self._dependents),
            )
        self._change(refused=True, until=now + self._rules.credential_s)
        return True

    def abandoned(self, generation: int) -> None:
        """An attempt ended without telling anything about it."""
        if self.refused and self.is_current(generation):
            self.probe_until = 0.0
            self._tell()

    def _others_answer(self, by: Dependent, now: float) -> bool:
        since = now - self._rules.credential_s
        return any(one is not by and one.answered_at > since for one in self._dependents)

    def _change(self, *, refused: bool, until: float) -> None:
        self.refused, self.until, self.probe_until = refused, until, 0.0
        self._generation += 1
        self._tell()

    def _tell(self) -> None:
        for dependent in self._dependents:
            dependent.refresh()
