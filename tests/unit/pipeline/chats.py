"""A pipeline over fake providers."""

from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.record import ChatObserver
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.router import Router, RouterDefaults
from tests.unit.doubles import FakeProvider


def pipeline_over(observer: ChatObserver, *providers: FakeProvider) -> ChatPipeline:
    """Serves the model `m` by each provider, in this order."""
    ledger = Ledger()
    catalogue = Catalogue([Declaration(p.name, p.name, p, ("m",)) for p in providers], ledger)
    dispatcher = Dispatcher({p.name: p for p in providers}, ledger, lambda *_: None)
    router = Router(catalogue, ledger, RouterDefaults("failover"))
    return ChatPipeline(router, dispatcher, observer)
