"""Instances on one database, each with its own routes in force."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from ailb_server.domain.audit import Actor, AuditEvent
from ailb_server.domain.route import RouteTerms
from ailb_server.domain.route_syntax import parse_group
from ailb_server.routing.live_routes import LiveRoutes, ReadRules
from ailb_server.routing.route_administration import RouteAdministration
from ailb_server.routing.router import Router
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.notifications import Notifications
from ailb_server.storage.pool import Store
from ailb_server.storage.routes import CHANNEL, PostgresRoutes
from tests.unit.routes.routing import router

VERSION = "0.1.0"
ME = Actor("nlb", 9, "192.0.2.7", "r-1")
PATIENCE_S = 10.0


class Silent:
    """An `AuditLog` that keeps nothing: what is changed is told by the store."""

    def record(self, event: AuditEvent) -> None:
        """Nothing."""

    def count(self, event: AuditEvent, kind: str = "") -> None:
        """Nothing."""

    async def append(self, event: AuditEvent) -> None:
        """Nothing."""


@dataclass
class Instance:
    """One of them."""

    store: Store
    live: LiveRoutes
    administration: RouteAdministration
    router: Router

    async def update(self, *terms: RouteTerms, replace_all: bool = False) -> int:
        return await self.administration.update(terms, ME, replace_all=replace_all)

    async def rows(self, query: str, *values: object) -> list[tuple[object, ...]]:
        async with self.store.connection() as connection:
            return [tuple(row.values()) for row in await connection.fetch(query, *values)]

    def ids(self) -> list[str]:
        return [route.route_id for route in self.live.table.routes]


@contextlib.asynccontextmanager
async def instance(
    dsn: str, name: str = "ailb-1", *, deaf: bool = False, every_s: float = 600.0
) -> AsyncIterator[Instance]:
    """With a pool of its own; a `deaf` one hears no announcement."""
    store = Store(dsn, size=2)
    await store.open()
    found = router()
    kept = PostgresRoutes(store, PostgresAuditLog(store, name), name, VERSION)
    rules = ReadRules(every_s=every_s, pause_s=0.05)
    live = LiveRoutes(kept, found.catalogue, VERSION, rules)
    found.route_time = live.now
    listening = asyncio.Event()

    def began() -> None:
        live.heard("")
        listening.set()

    listener = Notifications(dsn, {CHANNEL: live.heard}, began, ping_s=0.2)
    task = asyncio.create_task(listener.run())
    try:
        await live.start()
        if deaf:
            task.cancel()
        else:
            await asyncio.wait_for(listening.wait(), PATIENCE_S)
        yield Instance(store, live, RouteAdministration(live, Silent()), found)
    finally:
        task.cancel()
        await asyncio.wait((task,))
        await live.close()
        await store.close()


def terms(
    route_id: str = "r", model: str = "smart", group: str = "openai/gpt-4o", priority: int = 0
) -> RouteTerms:
    versions, weights = parse_group(group)
    return RouteTerms(route_id, model, versions, weights, priority=priority)


async def until(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> float:
    """Polls; the seconds that it took. Fails after `patience_s`."""
    clock = asyncio.get_running_loop().time
    start = clock()
    while not condition():
        assert clock() - start < patience_s, "it did not come true in time"
        await asyncio.sleep(0.005)
    return clock() - start
