"""What this instance has seen of each target."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from ailb_server.domain.errors import UpstreamError
from ailb_server.domain.target import Target

DOWN_AFTER = 3


@dataclass(slots=True)
class TargetState:
    """Attempts of one target: how many run, and how the last ones ended."""

    in_flight: int = 0
    consecutive_failures: int = 0
    last_failure: str = ""


class Ledger:
    """The states by target; bounded by the targets that routing knows."""

    def __init__(self) -> None:
        self._states: dict[tuple[str, str], TargetState] = {}

    def state(self, target: Target) -> TargetState:
        """The target's state, a fresh one if it was never tried."""
        return self._states.setdefault((target.provider, target.model), TargetState())

    def by_provider(self, provider: str) -> Mapping[str, TargetState]:
        """The states of a provider's tried models, by model."""
        return {model: s for (name, model), s in self._states.items() if name == provider}

    def forget_except(self, targets: set[tuple[str, str]]) -> None:
        """Drops idle targets that a new routing table no longer has."""
        self._states = {k: s for k, s in self._states.items() if k in targets or s.in_flight}

    @contextmanager
    def attempt(self, target: Target) -> Iterator[TargetState]:
        """Counts one attempt in flight."""
        state = self.state(target)
        state.in_flight += 1
        try:
            yield state
        except UpstreamError as error:
            if error.darkens:
                state.consecutive_failures += 1
                state.last_failure = error.reason.value
            raise
        finally:
            state.in_flight -= 1
