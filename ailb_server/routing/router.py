"""Plans the order in which a request's targets are tried."""

from collections.abc import Sequence

from ailb_server.domain.target import Target
from ailb_server.routing.catalogue import Catalogue
from ailb_server.routing.strategies import Strategy


class Router:
    """The catalogue's table, ordered by a strategy."""

    def __init__(self, catalogue: Catalogue, strategy: Strategy) -> None:
        self._catalogue = catalogue
        self._strategy = strategy

    def plan(self, model: str) -> Sequence[Target]:
        """At least one target, best first. Raises ModelNotFoundError."""
        return self._strategy(self._catalogue.table.resolve(model).targets)
