"""A pipeline over fake providers."""

from ailb_server.domain.target import Price
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.record import ChatObserver
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from tests.unit.doubles import FakeProvider

PRICE = Price(prompt=1_000_000, completion=2_000_000)


def pipeline_over(
    observer: ChatObserver, *providers: FakeProvider, price: Price | None = PRICE
) -> ChatPipeline:
    """Serves the model `m` by each provider, in this order."""
    ledger = Ledger()
    prices = {"m": price} if price else {}
    declared = [Declaration(p.name, p.name, p, ("m",), prices=prices) for p in providers]
    catalogue = Catalogue(declared, ledger)
    dispatcher = Dispatcher(Roster({p.name: p for p in providers}), ledger, lambda *_: None)
    router = Router(catalogue, ledger, RouterDefaults("failover"))
    return ChatPipeline(router, dispatcher, observer)
