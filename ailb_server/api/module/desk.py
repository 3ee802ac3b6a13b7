"""Around each of ModuleService's calls: is it for this instance, who calls, how did it end."""

from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import grpc

from ailb_server.api.actor import actor
from ailb_server.api.module.failing import Failing, or_failed
from ailb_server.domain.audit import Actor, AuditEvent, AuditLog
from ailb_server.domain.errors import AilbError, NotFoundError, StorageUnavailableError
from ailb_server.domain.module import KnownInstance

Q = TypeVar("Q")
R = TypeVar("R")
T = TypeVar("T", bound="Told")

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]

_CALLED = "module.called"

_caller: ContextVar[Actor] = ContextVar("caller")


class Told(Protocol):
    """A response that tells whether what was asked has come about."""

    @property
    def success(self) -> bool:
        """Whether it has."""
        ...

    @property
    def message(self) -> str:
        """For people."""
        ...


def caller() -> Actor:
    """Who makes the running call of ModuleService."""
    return _caller.get(Actor("nobody"))


@dataclass(frozen=True, slots=True)
class Change:
    """A write, for the audit log. `told`: which outcomes are told there by who does it.

    `shared`: it is about what all instances share, and any of them may be named.
    """

    action: str
    told: Literal["none", "ok", "all"] = "none"
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Desk:
    """`siblings` are asked only to say where another instance is."""

    module_id: str
    audit: AuditLog
    siblings: Callable[[], Awaitable[Sequence[KnownInstance]]]

    async def read(
        self,
        request: Q,
        context: Context,
        call: Callable[[Q], Awaitable[R]],
        *,
        shared: bool = False,
    ) -> R:
        """Counts the call among those like it. `shared`: see `Change`. Raises AilbError."""
        self._count(request, context)
        if not shared:
            await self._require_here(request)
        return await call(request)

    async def enter(self, request: object, context: Context) -> None:
        """As `read`, for a stream. Raises NotFoundError."""
        self._count(request, context)
        await self._require_here(request)

    def _count(self, request: object, context: Context) -> None:
        who = actor(context)
        _caller.set(who)
        self.audit.count(AuditEvent(_CALLED, who, subject=_name(request)))

    async def write(
        self,
        request: Q,
        context: Context,
        call: Callable[[Q], Awaitable[T]],
        failing: Failing[T],
        change: Change,
    ) -> T:
        """One row of the audit log. Raises AilbError for what is not about the call's subject."""
        _caller.set(actor(context))

        async def checked() -> T:
            if not change.shared:
                await self._require_here(request)
            return await call(request)

        try:
            response = await or_failed(failing, checked())
        except AilbError as error:
            self._tell(request, change, str(error))
            raise
        self._tell(request, change, "" if response.success else response.message)
        return response

    def _tell(self, request: object, change: Change, problem: str) -> None:
        if change.told == "all" or (change.told == "ok" and not problem):
            return
        after = {"problem": problem} if problem else None
        outcome: Literal["ok", "failed"] = "failed" if problem else "ok"
        subject = _name(request)
        who = caller()
        event = AuditEvent(change.action, who, subject=subject, after=after, outcome=outcome)
        self.audit.record(event)

    async def _require_here(self, request: object) -> None:
        named = getattr(request, "instance_id", "")
        if named in ("", self.module_id):
            return
        where = await self._where(named)
        raise NotFoundError(
            f"This is the instance `{self.module_id}`{where}.",
            param="instance_id",
            instance_id=self.module_id,
        )

    async def _where(self, named: str) -> str:
        try:
            known = await self.siblings()
        except StorageUnavailableError:
            return ", and which others there are is not known now"
        for one in known:
            if one.instance.module_id == named:
                return f"; ask `{named}` at {one.instance.address}"
        return ", and no other of the name lives: GetInstances lists those that do"


def _name(request: object) -> str:
    return type(request).__name__.removesuffix("Request")
