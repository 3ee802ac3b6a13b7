"""What this instance has seen of every target."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ailb_server.domain.target import Target
from ailb_server.routing.attempt import Attempt, Clocks
from ailb_server.routing.breaker import BreakerRules
from ailb_server.routing.credential import Credential
from ailb_server.routing.facts import RequestFacts
from ailb_server.routing.limits import Gate, ProviderLimits, SharedLimits
from ailb_server.routing.seat import Seat
from ailb_server.routing.snapshot import TargetSnapshot, target_snapshot
from ailb_server.routing.state import TargetState

DOWN_AFTER = 3


@dataclass(frozen=True, slots=True)
class LedgerRules:
    """When targets are dark, and what providers allow; `limits` is by provider. `shared` tells
    what of a provider's all instances share; if that is away and `outage_denies`, those that have
    limits are not asked.
    """

    breaker: BreakerRules = field(default_factory=BreakerRules)
    limits: Mapping[str, ProviderLimits] | None = None
    shared: Callable[[str], SharedLimits] | None = None
    outage_denies: bool = False


class Ledger:
    """The states by target, bounded by the targets that routing knows, and the providers' gates.

    `clock` is monotonic, `wall` is the time of day; both in seconds.
    """

    def __init__(
        self,
        rules: LedgerRules | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._rules = rules or LedgerRules()
        self.clock = clock
        self._clocks = Clocks(clock, wall)
        self._states: dict[tuple[str, str], TargetState] = {}
        # As many as there are providers.
        self._credentials: dict[str, Credential] = {}
        # As many too.
        self._gates: dict[str, Gate | None] = {}

    def state(self, target: Target) -> TargetState:
        """The target's state, a fresh one if it was never tried."""
        key = (target.provider, target.model)
        state = self._states.get(key)
        if state is None:
            name, rules = f"{target.provider}/{target.model}", self._rules.breaker
            credential = self._credential(target.provider)
            state = self._states[key] = TargetState(name, rules, credential)
            credential.join(state)
        return state

    def _credential(self, provider: str) -> Credential:
        credential = self._credentials.get(provider)
        if credential is None:
            credential = Credential(provider, self._rules.breaker)
            self._credentials[provider] = credential
        return credential

    def seat(self, target: Target) -> Seat:
        """A seat of the target for a name's round."""
        provider = target.provider
        return Seat(target, self.state(target), self.gate(provider))

    def gate(self, provider: str) -> Gate | None:
        """What holds its limits, if it may have any."""
        if provider not in self._gates:
            self._gates[provider] = self._made(provider)
        return self._gates[provider]

    def _made(self, provider: str) -> Gate | None:
        rules = self._rules
        limits = (rules.limits or {}).get(provider) or ProviderLimits()
        if rules.shared is not None:
            return Gate(limits, rules.shared(provider), denies=rules.outage_denies)
        return Gate(limits) if limits.any() else None

    def by_provider(self, provider: str) -> Mapping[str, TargetState]:
        """The states of a provider's known models, by model."""
        return {model: s for (name, model), s in self._states.items() if name == provider}

    def forget_except(self, targets: set[tuple[str, str]]) -> None:
        """Drops idle targets that a new routing table no longer has."""
        kept = {k: s for k, s in self._states.items() if k in targets or s.in_flight}
        for key in self._states.keys() - kept.keys():
            state = self._states[key]
            state.credential.leave(state)
        self._states = kept

    def relimit(self, rules: LedgerRules) -> None:
        """Puts other limits in force; what runs and what a minute has seen still counts."""
        self._rules = rules
        known = {name: gate for name, gate in self._gates.items() if gate is not None}
        self._gates = {**known}
        for name, gate in known.items():
            limits = (rules.limits or {}).get(name) or ProviderLimits()
            gate.relimit(limits, rules.shared(name) if rules.shared else None)

    def forget_provider(self, name: str) -> None:
        """Drops all that is known of a provider, its credential too: it is another one now."""
        self._credentials.pop(name, None)
        self._gates.pop(name, None)
        self._states = {key: state for key, state in self._states.items() if key[0] != name}

    def attempt(
        self, seat: Seat, facts: RequestFacts, *, last_resort: bool = False, beside: bool = False
    ) -> Attempt:
        """An attempt to be entered; see `Attempt`."""
        return Attempt(seat, facts, self._clocks, last_resort=last_resort, beside=beside)

    def snapshot(self) -> Sequence[TargetSnapshot]:
        """Every known target as it stands now, by name."""
        now = self.clock()
        return [
            target_snapshot(provider, model, state, now)
            for (provider, model), state in sorted(self._states.items())
        ]
