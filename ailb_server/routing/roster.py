"""The providers that may be asked, replaced while calls run."""

import asyncio
import logging
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Protocol, runtime_checkable

from ailb_server.domain.ports import ChatProvider

_log = logging.getLogger(__name__)


@runtime_checkable
class Closable(Protocol):
    """A provider that holds connections."""

    async def close(self) -> None:
        """Closes all connections."""
        ...


class Member:
    """A provider and how many use it; a context around each use.

    One that has been replaced is closed when its last use ends.
    """

    __slots__ = ("_retired", "idle", "provider", "uses")

    def __init__(self, provider: ChatProvider) -> None:
        self.provider = provider
        self.uses = 0
        self._retired = False
        # Set once it is retired and nobody uses it.
        self.idle = asyncio.Event()

    def __enter__(self) -> ChatProvider:
        self.uses += 1
        return self.provider

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.uses -= 1
        if self._retired and not self.uses:
            self.idle.set()

    async def list_models(self) -> Sequence[str] | None:
        """See `ChatProvider.list_models`; None once it has been seen off."""
        if self.idle.is_set():
            return None
        with self as provider:
            return await provider.list_models()

    def retire(self) -> None:
        """It is asked no more."""
        self._retired = True
        if not self.uses:
            self.idle.set()


class Roster:
    """The providers by name. All methods are of the loop's thread."""

    def __init__(self, providers: Mapping[str, ChatProvider]) -> None:
        self._members = {name: Member(provider) for name, provider in providers.items()}
        self._leaving: set[asyncio.Task[None]] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def member(self, name: str) -> Member | None:
        """Who is asked under that name now."""
        return self._members.get(name)

    def swap(self, providers: Mapping[str, ChatProvider]) -> None:
        """From now on these are asked. Who is no longer one of them goes on with what it does, and
        is closed when that is over."""
        before = self._members
        self._members = {
            name: known
            if (known := before.get(name)) is not None and known.provider is provider
            else Member(provider)
            for name, provider in providers.items()
        }
        for name, member in before.items():
            if self._members.get(name) is not member:
                self._see_off(member)

    async def close(self) -> None:
        """Closes everyone, those that still leave too."""
        for task in self._leaving:
            task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for member in self._members.values():
            await _close(member.provider)

    def _see_off(self, member: Member) -> None:
        task = asyncio.create_task(_closed_after(member))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        member.retire()


async def _closed_after(member: Member) -> None:
    try:
        await member.idle.wait()
    finally:
        await _close(member.provider)
    _log.info("provider %s: the last call by its former settings is over", member.provider.name)


async def _close(provider: ChatProvider) -> None:
    if isinstance(provider, Closable):
        await provider.close()
