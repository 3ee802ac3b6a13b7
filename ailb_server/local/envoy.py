"""The Envoy that `ailb up` runs beside the server: REST in, gRPC out."""

import asyncio
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from aiohttp import ClientError, ClientSession, UnixConnector

from ailb_server.local.addresses import called_host
from ailb_server.local.envoy_config import Address, Edge, render
from ailb_server.local.envoy_program import (
    EnvoyError,
    find_binary,
    serve_command,
    validate_command,
)
from ailb_server.local.envoy_transport import Transport
from ailb_server.local.resources import data_dir

__all__ = ["EmbeddedEnvoy", "EnvoyError"]

START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0

_POLL_S = 0.02
_ADMIN_SOCKET = "admin.sock"
_RUNNING = "http.rest.downstream_rq_active"
_LOG_LINES = 5
_LOG_TAIL_BYTES = 8192


class EmbeddedEnvoy:
    """One Envoy process that serves REST on `host:port` from the gRPC servers' ports.

    `host` may be a wildcard; the servers are called on it, or on loopback if it is one. Files live
    in `run_dir`, which only this user can read; without it, in a directory that `stop` removes.
    Two workers keep a 50 MiB body from stalling everyone else's streams.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        upstream_ports: Sequence[int],
        run_dir: Path | None = None,
        concurrency: int = 2,
        transport: Transport | None = None,
    ) -> None:
        self._listen = Address(host, port)
        self._upstream_ports = tuple(upstream_ports)
        self._given_dir = run_dir
        self._concurrency = concurrency
        self._transport = transport or Transport()
        self._dir: Path | None = None
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process, while there is one."""
        return self._process.pid if self.alive() and self._process else None

    @property
    def log(self) -> Path:
        """Envoy's own lines and one JSON line per failed request; there once `start` was called."""
        return self._files() / "envoy.log"

    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.returncode is None

    async def wait_dead(self) -> int:
        """Waits until the process ends, by itself or by `stop`; returns its status."""
        if self._process is None:
            raise EnvoyError("Envoy was not started")
        return await self._process.wait()

    async def validate(self) -> None:
        """Lets Envoy check the configuration. Raises EnvoyError with its complaint."""
        command = validate_command(_program(), self._write_config())
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            output, _ = await asyncio.wait_for(process.communicate(), START_TIMEOUT_S)
        except TimeoutError:
            raise EnvoyError("Envoy does not finish checking its configuration") from None
        finally:
            await _end(process)
            if not self.alive():
                self._remove_files()
        if process.returncode:
            raise EnvoyError(f"Envoy refuses its configuration: {output.decode(errors='replace')}")

    async def start(self) -> None:
        """Returns once Envoy listens, within `START_TIMEOUT_S`. Raises EnvoyError."""
        address = _resolved(self._listen)
        _require_free(address)
        try:
            config = self._write_config()
            command = serve_command(_program(), config, concurrency=self._concurrency)
            self._process = await self._spawn(command)
            await asyncio.wait_for(self._until_it_listens(address), START_TIMEOUT_S)
        except TimeoutError:
            message = f"Envoy does not listen after {START_TIMEOUT_S:g} s. {self._complaint()}"
            await self.stop()
            raise EnvoyError(message) from None
        except OSError as error:
            await self.stop()
            raise EnvoyError(f"Envoy cannot be started: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def until_idle(self, timeout_s: float) -> None:
        """Returns once no request is under way, or after `timeout_s`: what the servers told last
        is then on its way to the callers. An Envoy that does not answer has nothing to wait for."""
        connector = UnixConnector(str(self._files() / _ADMIN_SOCKET))
        with suppress(TimeoutError, ClientError, ValueError):
            async with asyncio.timeout(timeout_s), ClientSession(connector=connector) as session:
                while await _requests(session):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_S)

    async def stop(self) -> None:
        """Ends the process at once, running requests too; bounded; may be repeated.

        Drain the server first: then nothing runs.
        """
        if self._process is not None:
            await _end(self._process)
        self._remove_files()

    def _remove_files(self) -> None:
        if self._dir is not None and self._given_dir is None:
            shutil.rmtree(self._dir, ignore_errors=True)
            self._dir = None

    def _files(self) -> Path:
        if self._dir is None:
            self._dir = self._given_dir or Path(tempfile.mkdtemp(prefix="ailb-envoy-"))
            self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self._dir

    def _write_config(self) -> Path:
        source = data_dir("envoy")
        listen = _resolved(self._listen)
        called = called_host(listen.host)
        edge = Edge(
            listen=listen,
            servers=[Address(called, port) for port in self._upstream_ports],
            data_dir=str(source),
            # Relative to the working directory: the path of a socket has at most 107 bytes.
            admin_socket=_ADMIN_SOCKET,
            transport=self._transport,
            secrets_dir=str(self._files().resolve()),
        )
        for name, text in self._transport.secrets().items():
            (self._files() / name).write_text(text, encoding="utf-8")
        config = self._files() / "envoy.yaml"
        config.write_text(render(source, edge), encoding="utf-8")
        return config.resolve()

    async def _spawn(self, command: Sequence[str]) -> asyncio.subprocess.Process:
        # A session of its own: the terminal's Ctrl-C is for us, and we stop it after the server.
        with self.log.open("wb") as log:
            return await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=asyncio.subprocess.STDOUT,
                cwd=self._files(),
                start_new_session=True,
            )

    async def _until_it_listens(self, address: Address) -> None:
        target = Address(called_host(address.host), address.port)
        while self.alive():
            with suppress(OSError):
                _, writer = await asyncio.open_connection(*target)
                writer.close()
                return
            await asyncio.sleep(_POLL_S)
        raise EnvoyError(f"Envoy ended at its start. {self._complaint()}")

    def _complaint(self) -> str:
        with suppress(OSError):
            text = self.log.read_bytes()[-_LOG_TAIL_BYTES:].decode(errors="replace")
            return "Its last lines:\n" + "\n".join(text.splitlines()[-_LOG_LINES:])
        return "It left no log."


async def _end(process: asyncio.subprocess.Process) -> None:
    for signal_it in (process.terminate, process.kill):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            signal_it()
        with suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_TIMEOUT_S)


def _program() -> Path:
    # The program is run by a child, whose word on this would be a traceback in the log.
    program = find_binary()
    if not os.access(program, os.X_OK):
        raise EnvoyError(
            f"{program} may not be executed by this user: install it again, or chmod +x it"
        )
    return program


def _resolved(address: Address) -> Address:
    """The address with an IP address as its host: Envoy listens on no names."""
    try:
        found = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    except OSError as error:
        raise EnvoyError(f"{address.host} is no address to listen on: {error.strerror}") from error
    return Address(str(found[0][4][0]), address.port)


def _require_free(address: Address) -> None:
    """Envoy would say so too, in a stack of its own words."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise EnvoyError(f"port {address.port} on {address.host} is taken") from error
            where = f"port {address.port} on {address.host}"
            raise EnvoyError(f"cannot listen on {where}: {error.strerror}") from error


async def _requests(admin: ClientSession) -> int:
    """Those under way. Raises ClientError, or ValueError for an answer that is no number."""
    async with admin.get("http://envoy/stats", params={"filter": f"^{_RUNNING}$"}) as answer:
        return int((await answer.text()).rpartition(":")[2])
