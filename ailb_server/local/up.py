"""`ailb up`: Postgres, the gateway and Envoy on this machine, started and stopped as one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from ailb_server.app import Gateway, Process
from ailb_server.app.access import bootstrap
from ailb_server.local.addresses import called_host
from ailb_server.local.as_run import as_run
from ailb_server.local.banner import Running
from ailb_server.local.envoy import EmbeddedEnvoy, EnvoyError
from ailb_server.local.envoy_settings import check_files, transport
from ailb_server.local.gateways import Gateways, OwnGateway
from ailb_server.local.instance import InstanceError
from ailb_server.local.instances import Instances, Place, places
from ailb_server.local.ports import check_ports
from ailb_server.local.postgres import EmbeddedPostgres, PostgresError
from ailb_server.local.resources import data_dir
from ailb_server.settings import Configuration, load
from ailb_server.settings.data_directory import data_directory

# What `Everything.start` raises besides `Gateway.start`'s.
UP_ERRORS = (PostgresError, EnvoyError, InstanceError)

_LOOK_EVERY_S = 0.5
# How long what the gateways told last may take through Envoy, which is ended next.
_PASS_ON_S = 3.0
# To Postgres, beside those of the gateways: three are a superuser's, some are for people.
_OTHER_CONNECTIONS = 20


class PartDiedError(Exception):
    """A part ended by itself; the message says which."""


class Everything:
    """All the parts. `start` returns what runs where; `watch` returns only by PartDiedError."""

    def __init__(
        self,
        configuration: Configuration,
        end: Callable[[], None] | None = None,
        instances: int = 1,
    ) -> None:
        """`end` asks for the end of the process: see `Process`. One instance is in this process,
        several are processes of their own."""
        self._configuration = as_run(configuration)
        self._end = end
        self._count = instances
        self._settings = self._configuration.settings
        self._closing = AsyncExitStack()
        self._gateways: Gateways | None = None
        self._envoy: EmbeddedEnvoy | None = None
        self._watched: list[tuple[str, Callable[[], Awaitable[bool]]]] = []

    async def start(self) -> Running:
        """Raises the error of the part that cannot start; what had started is stopped."""
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def watch(self) -> None:
        """Looks after the parts until one dies."""
        while True:
            for name, alive in self._watched:
                if not await alive():
                    raise PartDiedError(f"{name} ended by itself")
            await asyncio.sleep(_LOOK_EVERY_S)

    async def drain(self) -> None:
        """Refuses new calls and lets running ones end, bounded by DRAIN_TIMEOUT_S."""
        if self._gateways is not None:
            await self._gateways.drain()
            if self._envoy is not None:
                await self._envoy.until_idle(_PASS_ON_S)

    async def reload(self) -> None:
        """Reads the configuration again; what comes of it is in the log."""
        if self._gateways is not None:
            await self._gateways.reload()

    def switch_level(self) -> None:
        """Passes on that the level of log lines was switched here."""
        if self._gateways is not None:
            self._gateways.switch_level()

    async def stop(self) -> None:
        """Stops every part, newest first."""
        await self._closing.aclose()

    async def _start(self) -> Running:
        settings = self._settings
        check_ports(settings)
        check_files(settings)
        chosen = places(settings, self._count) if self._count > 1 else ()
        database_url = await self._start_postgres()
        gateways = self._made(chosen, database_url)
        # Before the start: what has begun to start is ended too.
        self._closing.push_async_callback(gateways.close)
        serving = await gateways.start()
        self._gateways = gateways
        self._watched.append(("Every instance", gateways.alive))
        await self._start_envoy(gateways.ports)
        return Running(
            settings=settings,
            providers=serving.providers,
            models=serving.models,
            database_url=database_url,
            data_dir=self._data_dir(),
            admin_secret=serving.admin_secret,
            instances=tuple((place.name, place.grpc_port) for place in chosen),
        )

    def _made(self, chosen: Sequence[Place], database_url: str) -> Gateways:
        configuration, migrations = self._configuration, data_dir("migrations")
        settings = configuration.settings
        if chosen:
            make_admin = partial(bootstrap, settings, database_url, migrations, "admin", "ailb up")
            return Instances(configuration, chosen, database_url, make_admin)
        process = Process(read=lambda: as_run(load()), end=self._end)
        gateway = Gateway(configuration, database_url, migrations, process)
        asks = settings.require_api_key is True
        return OwnGateway(gateway, settings.grpc_port, asks_for_keys=asks)

    async def _start_postgres(self) -> str:
        # Its pool, what it listens on, and what it migrates with.
        of_each = self._settings.database_pool_size + 2
        postgres = EmbeddedPostgres(
            self._data_dir() / "postgres", connections=self._count * of_each + _OTHER_CONNECTIONS
        )
        # Before the start: one that is given up goes on in its thread, and the stop waits for it.
        self._closing.push_async_callback(asyncio.to_thread, postgres.stop)
        database_url = await asyncio.to_thread(postgres.start)
        self._watched.append(("Postgres", lambda: asyncio.to_thread(postgres.alive)))
        return database_url

    async def _start_envoy(self, ports: Sequence[int]) -> None:
        settings = self._settings
        envoy = EmbeddedEnvoy(
            host=settings.host,
            port=settings.http_port,
            upstream_ports=ports,
            transport=transport(settings, (called_host(settings.host),)),
        )
        await envoy.start()
        self._envoy = envoy
        self._closing.push_async_callback(envoy.stop)

        async def alive() -> bool:
            return envoy.alive()

        self._watched.append(("Envoy", alive))

    def _data_dir(self) -> Path:
        return data_directory(self._settings)
