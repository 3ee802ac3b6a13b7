"""Each operation goes to the provider's method for it, or is refused."""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace

import pytest

from ailb_server.domain.chat import ChatRequest, Operation
from ailb_server.domain.errors import InvalidRequestError
from ailb_server.domain.ports import ProviderAnswer
from ailb_server.routing.operations import opened
from tests.unit.doubles import FakeProvider, chat, chunk


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
    with pytest.raises(InvalidRequestError) as raised:
        opened(provider, replace(chat("asked"), operation=operation), "m")
    assert raised.value.facts == {"model": "asked", "param": "model"}
    assert "`asked`" in str(raised.value)
    assert provider.log == []
