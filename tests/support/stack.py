"""The whole path for tests: Envoy, the gateway, and demo servers that can be watched."""

import asyncio
import json
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, Self

from pydantic import SecretStr

from ailb_server.app import Gateway
from ailb_server.demo.received import Outcome, Received
from ailb_server.demo.server import DemoServer
from ailb_server.local.envoy import EmbeddedEnvoy
from ailb_server.local.envoy_settings import transport
from ailb_server.settings import Configuration, ProviderSettings, Settings
from tests.support.loop_thread import LoopThread

REPOSITORY = Path(__file__).resolve().parents[2]
KEY = "sk-test-credential"
PATIENCE_S = 10.0


class Upstream:
    """A demo server, and what it has received."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.received: list[Received] = []
        self.url = ""
        self.server = DemoServer(observe=self.received.append)

    def last(self) -> Received:
        """The newest chat request."""
        return [r for r in self.received if r.path.endswith("/chat/completions")][-1]

    def last_fields(self) -> dict[str, Any]:
        """The newest chat request's JSON."""
        fields: dict[str, Any] = json.loads(self.last().body)
        return fields


class Stack:
    """Everything up on free ports. `upstreams` are providers, each with the demo's models.

    `settings` are fields of Settings; timeouts are short and no key is asked for unless they say
    otherwise.
    """

    def __init__(
        self,
        database_url: str,
        *,
        upstreams: tuple[str, ...] = ("openai",),
        settings: Mapping[str, object] | None = None,
        aliases: Mapping[str, tuple[str, ...]] | None = None,
        extra: tuple[ProviderSettings, ...] = (),
    ) -> None:
        self.dsn = database_url
        self._stack = ExitStack()
        self.upstreams = {name: Upstream(name) for name in upstreams}
        short = {
            "connect_timeout_s": 1,
            "first_token_timeout_s": 2,
            "between_tokens_timeout_s": 1,
            "total_timeout_s": 8,
            "drain_timeout_s": 10,
            "rate_limit_wait_s": 0,
            # A process of half a second's start for each stack; tests that need it ask for it.
            "embedding_backend": "none",
            "require_api_key": False,
            "usage_journal_dir": self._stack.enter_context(TemporaryDirectory()),
        }
        self.settings = Settings.model_validate({**short, **(settings or {})})
        self._aliases = aliases or {}
        self._extra = extra
        self.loop = LoopThread()
        self.grpc = ""
        self.rest = ""

    def __enter__(self) -> Self:
        self._stack.callback(self.loop.stop)
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    @property
    def upstream(self) -> Upstream:
        """The first upstream."""
        return next(iter(self.upstreams.values()))

    def outcome(self, received: Received) -> Outcome:
        """How a request ended at its upstream; waits for the end, bounded."""
        return self.loop.run(_over(received))

    def _start(self) -> None:
        providers = tuple(self._provider(u) for u in self.upstreams.values())
        configuration = Configuration(self.settings, (*providers, *self._extra), self._aliases)
        self.gateway = Gateway(configuration, self.dsn, REPOSITORY / "migrations")
        port = self.loop.run(self.gateway.start(port=0))
        self._stack.callback(lambda: self.loop.run(self.gateway.close()))
        self.grpc = f"127.0.0.1:{port}"
        http_port = free_port()
        self.envoy = EmbeddedEnvoy(
            host="127.0.0.1",
            port=http_port,
            upstream_ports=(port,),
            transport=transport(self.settings, ("127.0.0.1",)),
        )
        self.loop.run(self.envoy.start())
        self._stack.callback(lambda: self.loop.run(self.envoy.stop()))
        scheme = "http" if self.settings.envoy_tls_cert_file is None else "https"
        self.rest = f"{scheme}://127.0.0.1:{http_port}"

    def _provider(self, upstream: Upstream) -> ProviderSettings:
        url = upstream.url = self.loop.run(upstream.server.start())
        self._stack.callback(lambda: self.loop.run(upstream.server.stop()))
        return ProviderSettings.model_validate(
            {"name": upstream.name, "base_url": url, "api_key": SecretStr(KEY)}
        )


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _over(received: Received) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        return await received.over()


def eventually(condition: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Waits until `condition` holds; fails after `patience_s`."""
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
