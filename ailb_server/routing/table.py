"""Which targets a model's name stands for. Compiled, immutable, swapped by one reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ailb_server.domain.errors import ModelNotFoundError
from ailb_server.domain.target import Target


@dataclass(frozen=True, slots=True)
class Offer:
    """A provider's models, as declared or as listed. `owned_by` is what callers are told."""

    provider: str
    owned_by: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A name that callers may ask for."""

    id: str
    owned_by: str
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """Names to targets. Besides each listed name, `provider/model` names one provider's."""

    models: Mapping[str, ServedModel] = field(default_factory=dict)
    qualified: Mapping[str, ServedModel] = field(default_factory=dict)

    def resolve(self, model: str) -> ServedModel:
        """Raises ModelNotFoundError. A listed name wins over a qualified one."""
        served = self.models.get(model) or self.qualified.get(model)
        if served is None:
            raise ModelNotFoundError(
                f"The model `{model[:256]}` does not exist. GET /v1/models lists those that do.",
                model=model[:256],
                param="model",
            )
        return served

    def targets(self) -> set[tuple[str, str]]:
        """Every (provider, model) that the table can choose."""
        return {(t.provider, t.model) for served in self.models.values() for t in served.targets}


def compile_table(
    offers: Sequence[Offer], aliases: Mapping[str, Sequence[str]] | None = None
) -> RoutingTable:
    """Several providers with one model share it, in the offers' order.

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
    named = {**qualified, **listed}
    for alias, names in (aliases or {}).items():
        targets = [t for name in names if name in named for t in named[name].targets]
        if targets:
            listed[alias] = ServedModel(alias, "ailb", tuple(dict.fromkeys(targets)))
    return RoutingTable(MappingProxyType(listed), MappingProxyType(qualified))
