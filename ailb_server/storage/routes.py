"""Model routes in Postgres, and the weight of this instance's version."""

from collections.abc import Sequence
from dataclasses import dataclass

from ailb_server.domain.rollout import OTHERS, Rollout
from ailb_server.domain.route import (
    ModelRoute,
    RouteChange,
    RouteTable,
    RouteTableUnsoundError,
)
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.connection import Connection, Row
from ailb_server.storage.pool import Store
from ailb_server.storage.route_rows import (
    ROLLOUT_COLUMNS,
    rollout_of,
    rollout_values,
    route_of,
    route_values,
)

CHANNEL = "ailb_routes"

_STATE = (
    "SELECT version, extract(epoch FROM clock_timestamp())::float8 AS now FROM model_routes_state"
)
_LOCK = f"{_STATE} FOR UPDATE"
_ROUTES = f"""
SELECT route_id, protocol, path_pattern, model_pattern, headers, priority, metadata, versions,
       {ROLLOUT_COLUMNS}
  FROM model_routes
"""  # noqa: S608
_INSTANCE = f"SELECT {ROLLOUT_COLUMNS} FROM instance_weights WHERE (instance, version) = ($1, $2)"  # noqa: S608
_PUT = f"""
INSERT INTO model_routes (route_id, protocol, path_pattern, model_pattern, headers, priority,
                          metadata, versions, {ROLLOUT_COLUMNS})
VALUES ($1, $2, $3, $4, $5::jsonb, $6, $7::jsonb, $8::jsonb, $9::jsonb, $10, $11, $12, $13, $14,
        $15, $16)
ON CONFLICT (route_id) DO UPDATE SET (protocol, path_pattern, model_pattern, headers, priority,
                                      metadata, versions, {ROLLOUT_COLUMNS})
 = ROW (excluded.protocol, excluded.path_pattern, excluded.model_pattern, excluded.headers,
        excluded.priority, excluded.metadata, excluded.versions, excluded.weights, excluded.stable,
        excluded.previous, excluded.promoting, excluded.promotion_rate,
        excluded.promotion_interval_s, excluded.promotion_started_at, excluded.weights_changed_at)
"""  # noqa: S608
_DELETE = "DELETE FROM model_routes WHERE route_id = ANY($1)"
_PUT_INSTANCE = f"""
INSERT INTO instance_weights (instance, version, {ROLLOUT_COLUMNS})
VALUES ($1, $2, $3::jsonb, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (instance, version) DO UPDATE SET ({ROLLOUT_COLUMNS})
 = ROW (excluded.weights, excluded.stable, excluded.previous, excluded.promoting,
        excluded.promotion_rate, excluded.promotion_interval_s, excluded.promotion_started_at,
        excluded.weights_changed_at)
"""  # noqa: S608


@dataclass(frozen=True, slots=True)
class PostgresRoutes:
    """A `RouteStore`. `instance` is MODULE_ID, `version` that of AILB."""

    store: Store
    audit: PostgresAuditLog
    instance: str
    version: str

    async def load(self) -> RouteTable:
        """See `RouteStore`."""
        async with self.store.connection() as connection:
            return await self._read(connection, _STATE)

    async def change(self, change: RouteChange) -> RouteTable:
        """See `RouteStore`. Changes come one after the other, wherever they are made."""
        async with self.store.connection() as connection, connection.transaction():
            before = await self._read(connection, _LOCK)
            edit = change(before)
            if edit.routes == before.routes and edit.instance == before.instance:
                return before
            await self._write(connection, before.routes, edit.routes)
            if edit.instance is not None and edit.instance != before.instance:
                values = rollout_values(edit.instance)
                await connection.execute(_PUT_INSTANCE, self.instance, self.version, *values)
            await self.audit.append_with(connection, edit.event)
            return await self._read(connection, _STATE)

    async def _read(self, connection: Connection, query: str) -> RouteTable:
        # The state first: routes that are newer than their number are read again, older ones not.
        state = await connection.fetchrow(query)
        rows = await connection.fetch(_ROUTES)
        own = await connection.fetchrow(_INSTANCE, self.instance, self.version)
        if state is None:
            raise RouteTableUnsoundError("model_routes_state has no row")
        # Sorted here, because Postgres orders texts by its locale.
        routes = tuple(sorted(map(_sound, rows), key=lambda route: route.route_id))
        return RouteTable(state["version"], routes, self._own(own), state["now"])

    def _own(self, row: Row | None) -> Rollout | None:
        if row is None:
            return None
        try:
            return rollout_of(row, [self.version, OTHERS])
        except (ValueError, KeyError, TypeError) as error:
            raise RouteTableUnsoundError(f"the weight of {self.instance}: {error}") from error

    async def _write(
        self, connection: Connection, before: Sequence[ModelRoute], after: Sequence[ModelRoute]
    ) -> None:
        kept = {route.route_id for route in after}
        gone = [route.route_id for route in before if route.route_id not in kept]
        if gone:
            await connection.execute(_DELETE, gone)
        known = {route.route_id: route for route in before}
        changed = [route_values(r) for r in after if known.get(r.route_id) != r]
        if changed:
            await connection.executemany(_PUT, changed)


def _sound(row: Row) -> ModelRoute:
    try:
        return route_of(row)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RouteTableUnsoundError(f"the route {row['route_id']}: {error}") from error
