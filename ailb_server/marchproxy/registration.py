"""Keeps this instance registered at the load balancer, whatever becomes of either."""

import asyncio
import contextlib
import logging
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Protocol

from ailb_server.marchproxy.backoff import Backoff
from ailb_server.marchproxy.link import Link, NlbError, Trouble
from ailb_server.marchproxy.orders import Orders
from marchproxy import nlb_pb2 as pb

# So many heartbeats in a row may come to nothing before the connection is made anew.
MAX_MISSED = 3
# What the end of an instance may lose by a load balancer that does not answer.
LEAVE_S = 2.0

_log = logging.getLogger(__name__)


class Facts(Protocol):
    """What is told of this instance, as it is now."""

    async def registration(self) -> pb.RegisterModuleRequest:
        """All of it."""
        ...

    async def heartbeat(self, registration_id: str) -> pb.HeartbeatRequest:
        """How it fares."""
        ...


class Observer(Protocol):
    """Told of each call, by outcome: `ok`, or what a Trouble is called."""

    def registered(self, *, yes: bool) -> None:
        """Whether the load balancer knows this instance."""
        ...

    def registration(self, outcome: str) -> None:
        """A try to register."""
        ...

    def heartbeat(self, outcome: str) -> None:
        """A heartbeat."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """`address` is the load balancer's, `module_id` this instance's name there."""

    address: str
    module_id: str
    every_s: float


@dataclass(slots=True)
class Registration:
    """Works in a task of its own: nobody ever waits for the load balancer but `leave`.

    A connection that was lost is made anew and this instance registered again, since the load
    balancer may have forgotten it; so it is if a heartbeat is not acknowledged. What changes of its
    routes, weight or address is told with the next heartbeat.
    """

    target: Target
    dial: Callable[[], Link]
    facts: Facts
    orders: Orders
    observer: Observer
    backoff: Backoff = field(default_factory=Backoff)
    _task: "asyncio.Task[None] | None" = field(init=False, default=None)
    _link: Link | None = field(init=False, default=None)
    # None: the load balancer does not know us. Empty: it may, a registration is under way.
    _id: str | None = field(init=False, default=None)
    _told: bytes = field(init=False, default=b"")
    _state: str = field(init=False, default="")

    def start(self) -> None:
        """Begins, until `leave` or `close`."""
        self._task = asyncio.create_task(self._run())

    async def leave(self, drain_s: float) -> None:
        """Heartbeats end and the load balancer is told that this instance drains for so long;
        takes LEAVE_S at most. May be repeated."""
        await self._stop()
        link, self._link, known, self._id = self._link, None, self._id, None
        if link is None:
            return
        try:
            if known is not None:
                async with asyncio.timeout(LEAVE_S):
                    await link.unregister(self._farewell(known, drain_s))
                _log.info("unregistered from the load balancer %s", self.target.address)
        except (NlbError, TimeoutError) as error:
            reason = error if isinstance(error, NlbError) else "no answer in time"
            # Who was about to register has nothing to take back, as far as is known.
            level = logging.WARNING if known else logging.DEBUG
            _log.log(level, "the load balancer could not be told of the end: %s", reason)
        finally:
            self.observer.registered(yes=False)
            await link.close()

    async def close(self) -> None:
        """As `leave`, for an end without a drain."""
        await self.leave(0)
        await self.orders.close()

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                async with self._dialled() as link:
                    await self._register(link)
                    await self._beat(link)
            except NlbError as error:
                self._lost(error.trouble.value, str(error))
            except Exception:  # noqa: BLE001
                # A fault of ours must not end this for good, nor pass unseen.
                self.observer.registered(yes=False)
                _log.exception("a heartbeat to the load balancer failed")
            await asyncio.sleep(self.backoff.pause_s())

    @contextlib.asynccontextmanager
    async def _dialled(self) -> AsyncIterator[Link]:
        """A connection; `leave` gets the one that is in use when all this is cancelled."""
        link = self._link = self.dial()
        try:
            yield link
        except Exception:
            self._link = self._id = None
            await link.close()
            raise

    async def _register(self, link: Link) -> None:
        request = await self.facts.registration()
        try:
            known = await self._accepted(link, request)
        except NlbError as error:
            self.observer.registration(error.trouble.value)
            raise
        self._id, self._told = known, _lasting(request)
        self.observer.registration("ok")
        self.observer.registered(yes=True)
        weight, routes = request.instance.traffic_weight, len(request.initial_routes)
        told = f"registered at {self.target.address}: weight {weight}, {routes} routes"
        self._tell(logging.INFO, told, f"{known} {told}")

    async def _accepted(self, link: Link, request: pb.RegisterModuleRequest) -> str:
        former, self._id = self._id, self._id or ""
        try:
            return await link.register(request)
        except NlbError as error:
            if error.trouble is not Trouble.EXISTS or not former:
                raise
        # Our own, which this load balancer does not let us replace.
        await link.unregister(self._farewell(former, 0))
        return await link.register(request)

    async def _beat(self, link: Link) -> None:
        every_s, missed = self.target.every_s, 0
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            # By the clock, not after the last answer: a slow one makes no slow heart.
            due = max(due + every_s, loop.time())
            await asyncio.sleep(due - loop.time())
            await self._renew(link)
            answer = await self._heartbeat(link, missed)
            missed = 0 if answer else missed + 1
            if answer is not None:
                self.backoff.reset()
                wishes = self.orders.obey(answer)
                every_s = wishes.every_s or every_s
                if wishes.register:
                    await self._register(link)

    async def _renew(self, link: Link) -> None:
        """Tells what has changed. If that is refused, what was told before holds."""
        if _lasting(await self.facts.registration()) == self._told:
            return
        try:
            await self._register(link)
        except NlbError as error:
            if error.trouble is not Trouble.REFUSED:
                raise
            self._tell(logging.WARNING, f"the load balancer keeps what it knew: {error}", "kept")

    async def _heartbeat(self, link: Link, missed: int) -> pb.HeartbeatResponse | None:
        """None for one that is made up for by the next."""
        try:
            answer = await link.heartbeat(await self.facts.heartbeat(self._id or ""))
        except NlbError as error:
            self.observer.heartbeat(error.trouble.value)
            lasting = error.trouble in {Trouble.LATE, Trouble.REFUSED}
            if lasting and missed + 1 < MAX_MISSED:
                _log.debug("a heartbeat came to nothing: %s", error)
                return None
            raise
        self.observer.heartbeat("ok")
        return answer

    def _farewell(self, known: str, drain_s: float) -> pb.UnregisterModuleRequest:
        return pb.UnregisterModuleRequest(
            instance_id=self.target.module_id,
            registration_id=known,
            graceful=drain_s > 0,
            drain_timeout_seconds=math.ceil(drain_s),
        )

    def _lost(self, trouble: str, problem: str) -> None:
        self.observer.registered(yes=False)
        where = self.target.address
        message = f"not registered at {where} ({trouble}), trying on: {problem}"
        self._tell(logging.WARNING, message, trouble)

    def _tell(self, level: int, message: str, state: str) -> None:
        """Once for each state."""
        if state != self._state:
            self._state = state
            _log.log(level, "%s", message)


def _lasting(request: pb.RegisterModuleRequest) -> bytes:
    """What is told anew when it changes: not how the instance fares, which heartbeats tell."""
    kept = pb.RegisterModuleRequest()
    kept.CopyFrom(request)
    kept.instance.ClearField("health_status")
    kept.instance.ClearField("current_connections")
    kept.instance.ClearField("metadata")
    return kept.SerializeToString(deterministic=True)
