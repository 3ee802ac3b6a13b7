"""Which targets a model's name stands for. Compiled, immutable, swapped by one reference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ailb_server.domain.errors import ModelNotFoundError, UpstreamUnavailableError
from ailb_server.domain.target import Target

# Soon: who is away at the start is asked again within moments.
UNLISTED_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider's models, as declared or as listed. `owned_by` is what callers are told."""

    provider: str
    owned_by: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Alias:
    """A name for other names, in its order, and how its targets are chosen.

    Without a `strategy` or a `hedge_after_s` (seconds) of its own, the instance's hold.
    """

    models: tuple[str, ...]
    strategy: str | None = None
    hedge_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A name that callers may ask for. `strategy`, `hedge_after_s`: see `Alias`."""

    id: str
    owned_by: str
    targets: tuple[Target, ...]
    strategy: str | None = None
    hedge_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Names to targets. Besides each listed name, `provider/model` names one provider's.

    `unlisted` are providers that have yet to tell what they serve: while there is one, a name that
    nobody else offers may be its, unless the name is qualified by another of the `providers`.
    `clashes` are names that a provider lists and that are qualified names of another.
    """

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    qualified: Mapping[str, ServedModel] = field(default_factory=dict)
    unlisted: frozenset[str] = frozenset()
    providers: frozenset[str] = frozenset()
    clashes: frozenset[str] = frozenset()

    def find(self, model: str) -> ServedModel | None:
        """An alias wins over a qualified name, and that over what a provider calls a model."""
        return self.models.get(model) or self.qualified.get(model)

    def resolve(self, model: str) -> ServedModel:
        """As `find`; raises ModelNotFoundError, or UpstreamUnavailableError while that is open."""
        served = self.find(model)
        if served is None and (awaited := self._may_have(model)):
            names = ", ".join(sorted(awaited))
            raise UpstreamUnavailableError(
                f"What {names} serves is not known yet: it cannot be reached.",
                retry_after_s=UNLISTED_RETRY_S,
                provider=names,
            )
        if served is None:
            raise ModelNotFoundError(
                f"The model `{model[:256]}` does not exist. GET /v1/models lists those that do.",
                model=model[:256],
                param="model",
            )
        return served

    def knows(self, model: str) -> bool:
        """Whether a name stands for something, or may once who is away has told."""
        return self.find(model) is not None or bool(self._may_have(model))

    def _may_have(self, model: str) -> frozenset[str]:
        """The providers that may turn out to serve it."""
        prefix, slash, _ = model.partition("/")
        named = slash and prefix in self.providers
        return self.unlisted & {prefix} if named else self.unlisted

    def targets(self) -> set[tuple[str, str]]:
        """Every (provider, model) that the table can choose."""
        # An alias may hide a model's own name: what it stood for has its qualified name still.
        served = (*self.models.values(), *self.qualified.values())
        return {(t.provider, t.model) for one in served for t in one.targets}


def compile_table(
    offers: Sequence[Offer],
    aliases: Mapping[str, Alias] | None = None,
    unlisted: Iterable[str] = (),
) -> RoutingTable:
    """Several providers with one model share it, in the offers' order; `provider/model` is always
    that provider's, whatever others call theirs.

    An alias stands for names, qualified or not, in its order; a name that nobody offers (yet) is
    left out of it, and an alias without any target is left out of the table.
    """
    listed: dict[str, ServedModel] = {}
    qualified: dict[str, ServedModel] = {}
    for offer in offers:
        for target in offer.targets:
            known = listed.get(target.model, ServedModel(target.model, offer.owned_by, ()))
            listed[target.model] = ServedModel(known.id, known.owned_by, (*known.targets, target))
            name = f"{offer.provider}/{target.model}"
            qualified[name] = ServedModel(name, offer.owned_by, (target,))
    clashes = frozenset(listed.keys() & qualified.keys())
    listed.update((name, qualified[name]) for name in clashes)
    named = {**qualified, **listed}
    for name, alias in (aliases or {}).items():
        targets = [t for model in alias.models if model in named for t in named[model].targets]
        if targets:
            distinct = tuple(dict.fromkeys(targets))
            listed[name] = ServedModel(name, "ailb", distinct, alias.strategy, alias.hedge_after_s)
    return RoutingTable(
        MappingProxyType(listed),
        MappingProxyType(qualified),
        frozenset(unlisted),
        frozenset(offer.provider for offer in offers),
        clashes,
    )
