"""`ailb up`: Postgres, the gateway and Envoy on this machine, started and stopped as one."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path

from ailb_server.app import Gateway, Process
from ailb_server.local.addresses import called_host
from ailb_server.local.banner import Running
from ailb_server.local.envoy import EmbeddedEnvoy, EnvoyError
from ailb_server.local.envoy_settings import check_files, transport
from ailb_server.local.postgres import EmbeddedPostgres, PostgresError
from ailb_server.local.resources import data_dir
from ailb_server.server import PortTakenError
from ailb_server.settings import Configuration, Settings, load
from ailb_server.settings.data_directory import data_directory
from ailb_server.settings.loopback import is_loopback
from ailb_server.settings.transport import ANY_ORIGIN

# What `Everything.start` raises besides `Gateway.start`'s.
UP_ERRORS = (PostgresError, EnvoyError)

_LOOK_EVERY_S = 0.5


class PartDiedError(Exception):
    """A part ended by itself; the message says which."""


class Everything:
    """All the parts. `start` returns what runs where; `watch` returns only by PartDiedError."""

    def __init__(self, configuration: Configuration, end: Callable[[], None] | None = None) -> None:
        """`end` asks for the end of the process: see `Process`."""
        self._configuration = _as_run(configuration)
        self._end = end
        self._settings = self._configuration.settings
        self._closing = AsyncExitStack()
        self._gateway: Gateway | None = None
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
        if self._gateway is not None:
            await self._gateway.drain()

    async def reload(self) -> None:
        """Reads the configuration again; what comes of it is in the log."""
        if self._gateway is not None:
            await self._gateway.reload("SIGHUP")

    async def stop(self) -> None:
        """Stops every part, newest first."""
        await self._closing.aclose()

    async def _start(self) -> Running:
        settings = self._settings
        check_ports(settings)
        check_files(settings)
        database_url = await self._start_postgres()
        process = Process(read=lambda: _as_run(load()), end=self._end)
        gateway = Gateway(self._configuration, database_url, data_dir("migrations"), process)
        await gateway.start()
        self._gateway = gateway
        self._closing.push_async_callback(gateway.close)
        await self._start_envoy()
        admin_secret = None
        if settings.require_api_key and not gateway.has_admin():
            admin_secret = await gateway.make_admin("admin", "ailb up")
        return Running(
            settings=settings,
            providers=gateway.providers,
            models=gateway.models(),
            database_url=database_url,
            data_dir=self._data_dir(),
            admin_secret=admin_secret,
        )

    async def _start_postgres(self) -> str:
        postgres = EmbeddedPostgres(self._data_dir() / "postgres")
        # Before the start: one that is given up goes on in its thread, and the stop waits for it.
        self._closing.push_async_callback(asyncio.to_thread, postgres.stop)
        database_url = await asyncio.to_thread(postgres.start)
        self._watched.append(("Postgres", lambda: asyncio.to_thread(postgres.alive)))
        return database_url

    async def _start_envoy(self) -> None:
        settings = self._settings
        envoy = EmbeddedEnvoy(
            host=settings.host,
            port=settings.http_port,
            upstream_ports=(settings.grpc_port,),
            transport=transport(settings, (called_host(settings.host),)),
        )
        await envoy.start()
        self._closing.push_async_callback(envoy.stop)

        async def alive() -> bool:
            return envoy.alive()

        self._watched.append(("Envoy", alive))

    def _data_dir(self) -> Path:
        return data_directory(self._settings)


def _as_run(configuration: Configuration) -> Configuration:
    return _with_keys(_with_demo(configuration))


def _with_demo(configuration: Configuration) -> Configuration:
    if configuration.providers or configuration.settings.demo_provider:
        return configuration
    settings = configuration.settings.model_copy(update={"demo_provider": True})
    return replace(configuration, settings=settings)


def _with_keys(configuration: Configuration) -> Configuration:
    settings = configuration.settings
    if settings.require_api_key is not None:
        return configuration
    # To be tried at once on one's own machine, and by nobody else: no web page either.
    required = not is_loopback(settings.host) or ANY_ORIGIN in settings.cors_allowed_origins
    update = {"require_api_key": required}
    return replace(configuration, settings=settings.model_copy(update=update))


def check_ports(settings: Settings) -> None:
    """Raises PortTakenError before anything is started, for the clearest message."""
    ports = {
        "HTTP_PORT": settings.http_port,
        "GRPC_PORT": settings.grpc_port,
        "METRICS_PORT": settings.metrics_port,
    }
    for name, port in ports.items():
        if port is not None:
            _check_port(name, settings.host, port)


def _check_port(name: str, host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As the servers themselves do: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise PortTakenError(
                f"{name} {port} on {host} cannot be used: {error.strerror}."
                f" Set {name} to another port."
            ) from error
