"""A service behind a real server and gate, in a thread of its own, as commands block."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack

import grpc
from typer.testing import CliRunner, Result

from ailb_server.api.edge import Edge
from ailb_server.api.gate import Gate
from ailb_server.cli.main import app
from ailb_server.domain.principal import Principal
from ailb_server.server import GrpcServer, Register
from ailb_server.storage.pool import Store
from tests.support.loop_thread import LoopThread


class _Keys:
    """The names are the secrets."""

    def __init__(self, who: Mapping[str, Principal]) -> None:
        self._who = who

    def known(self, secret: str) -> Principal | None:
        return self._who.get(secret)

    def is_ours(self, secret: str) -> bool:
        return secret in self._who

    async def authenticate(self, secret: str) -> Principal:
        return self._who[secret]


class AskedService(ABC):
    """Runs until `stack` is left; `command`: the one of `ailb` that asks it."""

    command: str

    def __init__(self, dsn: str, who: Mapping[str, Principal], stack: ExitStack) -> None:
        self._who = who
        self.loop = LoopThread()
        stack.callback(self.loop.stop)
        self.loop.run(self._start(dsn))
        stack.callback(lambda: self.loop.run(self._stop()))
        self.channel = stack.enter_context(grpc.insecure_channel(self.target))

    @abstractmethod
    def services(self, store: Store) -> Sequence[Register]:
        """What the server is to serve."""

    def told(self, *arguments: str, key: str = "admin") -> Result:
        """What the command prints."""
        command = [self.command, *arguments, "--target", self.target, "--api-key", key]
        return CliRunner().invoke(app, command)

    async def _start(self, dsn: str) -> None:
        self._store = Store(dsn, size=3)
        await self._store.open()
        edge = Edge(10, Gate(_Keys(self._who), lambda _: None))
        self._server = GrpcServer(edge, self.services(self._store), max_calls=10)
        self.target = f"127.0.0.1:{await self._server.start('127.0.0.1', 0)}"

    async def _stop(self) -> None:
        await self._server.stop()
        await self._store.close()
