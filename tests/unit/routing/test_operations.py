"""Each operation goes to the provider's method for it, or is refused."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import pytest

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError, UntranslatableError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.domain.target import Target
from ailb_server.routing.capabilities import having
from ailb_server.routing.catalogue import Catalogue, Declaration
from ailb_server.routing.dispatcher import Dispatcher
from ailb_server.routing.ledger import Ledger
from ailb_server.routing.operations import opened, operations_of
from ailb_server.routing.roster import Roster
from ailb_server.routing.router import Router, RouterDefaults
from tests.unit.doubles import FakeProvider, chat, chunk
from tests.unit.routing.seats import seats_of


@dataclass
class _Able(FakeProvider):
    """Has every operation, and logs which was asked for."""

    def open_completion(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        self.log.append("completion")
        return self.open(request, model)

    def open_embedding(
        self, request: ChatRequest, model: str
    ) -> AbstractAsyncContextManager[ProviderAnswer]:
        self.log.append("embedding")
        return self.open(request, model)


@pytest.mark.parametrize("operation", Operation)
async def test_the_provider_is_asked_for_the_operation(operation: Operation) -> None:
    provider = _Able(says=[chunk()])
    async with opened(provider, replace(chat(), operation=operation), "m") as answer:
        assert [c async for c in answer.chunks] == [chunk()]
    told = [] if operation is Operation.CHAT else [operation.value]
    assert provider.log == [*told, "p open m", "p closed"]


@pytest.mark.parametrize("operation", [Operation.COMPLETION, Operation.EMBEDDING])
async def test_what_the_provider_lacks_is_the_callers_fault(operation: Operation) -> None:
    provider = FakeProvider(says=[chunk()])
    with pytest.raises(UntranslatableError) as raised:
        opened(provider, replace(chat("asked"), operation=operation), "m")
    assert raised.value.facts == {"model": "asked", "param": "model"}
    assert "`asked`" in str(raised.value)
    assert provider.log == []


def test_a_providers_operations_are_those_of_its_ports() -> None:
    assert operations_of(FakeProvider()) == {Operation.CHAT}
    assert operations_of(_Able()) == set(Operation)


@pytest.mark.parametrize("operation", [Operation.COMPLETION, Operation.EMBEDDING])
async def test_a_group_asks_only_those_that_have_the_operation(operation: Operation) -> None:
    lacking, able = FakeProvider("a", says=[chunk()]), _Able("b", says=[chunk()])
    providers = {"a": lacking, "b": able}
    ledger = Ledger()
    declared = [
        Declaration(name, name, p, ("m",), operations=operations_of(p))
        for name, p in providers.items()
    ]
    catalogue = Catalogue(declared, ledger)
    router = Router(catalogue, ledger, RouterDefaults("failover"))
    dispatcher = Dispatcher(Roster(providers), ledger, lambda *_: None)
    request = replace(chat(), operation=operation)
    plan = router.plan(request)
    async with dispatcher.open(plan, request) as answer:
        assert answer.target.provider == "b"
    assert lacking.log == []
    assert [one.target.provider for one in plan.decision.tried] == ["b"]
    with pytest.raises(InvalidRequestError, match="no provider of it") as raised:
        router.plan(replace(chat("a/m"), operation=operation))
    assert raised.value.facts == {"model": "a/m", "param": "model"}


def test_having_keeps_the_order() -> None:
    only_chat = frozenset({Operation.CHAT})
    targets = [Target("a", "m"), Target("b", "m", operations=only_chat), Target("c", "m")]
    found = having(seats_of(*targets), Operation.EMBEDDING, "m")
    assert [seat.target.provider for seat in found] == ["a", "c"]
