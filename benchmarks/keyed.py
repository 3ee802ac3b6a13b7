"""`python -m benchmarks.keyed`: what a key, its limits, its budget and the ledger add to a chat.

One gateway in this process, with a Postgres of its own and a demo provider in another; chats go
through everything but gRPC's sockets. Three kinds take turns, so that noise hits all alike: with a
key that has every limit; without a key; without a key and a row in the usage ledger. The clock is
this process's own CPU time.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any, cast
from unittest import mock

import uvloop
from google.api.httpbody_pb2 import HttpBody

from ailb.openai.v1 import openai_service_pb2 as pb
from ailb_server.api.edge import Edge
from ailb_server.app import Gateway
from ailb_server.domain.api_key import KeyTerms, NewKey
from ailb_server.domain.audit import Actor
from ailb_server.domain.principal import KeyLimits
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.local.resources import data_dir
from ailb_server.pipeline.accounting import Accounting
from ailb_server.settings import Configuration, ProviderSettings, Settings
from benchmarks.programs import free_ports, post, upstream

_METHOD = "/ailb.openai.v1.OpenAIService/CreateChatCompletion"
_BODY = b'{"model":"demo","messages":[{"role":"user","content":"What is a load balancer for?"}]}'
_PLENTY = KeyLimits(100_000_000, 1_000_000_000, 1_000, 1_000_000_000_000)
_CHATS = 200


class Served:
    """Takes the server's place: keeps the handlers, listens nowhere."""

    draining = False

    def __init__(self, edge: Edge, services: Sequence[Any], *, max_calls: int) -> None:
        self.handlers: dict[str, Any] = {}
        for register in services:
            register(self)
        found = edge._wrap(_METHOD, self.handlers[_METHOD])
        self.chat: Any = found.unary_unary

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        """See `grpc.aio.Server`."""
        for handler in handlers:
            self.handlers.update(handler._method_handlers)

    def add_registered_method_handlers(self, _service: str, _handlers: object) -> None:
        """They are the same."""

    async def start(self, *_: object) -> int:
        """Nowhere."""
        return 1

    async def stop(self) -> None:
        """Nothing runs."""


class Context:
    """A call's, without a caller behind it."""

    def __init__(self, metadata: Sequence[tuple[str, str]]) -> None:
        self._metadata = metadata

    def invocation_metadata(self) -> Sequence[tuple[str, str]]:
        """See gRPC."""
        return self._metadata

    def time_remaining(self) -> float | None:
        """See gRPC."""
        return None

    def peer(self) -> str:
        """See gRPC."""
        return "ipv4:127.0.0.1:1"

    async def send_initial_metadata(self, _: object) -> None:
        """See gRPC."""


async def _chats(served: Served, metadata: Sequence[tuple[str, str]]) -> float:
    """CPU microseconds for each of some chats."""
    request = pb.CreateChatCompletionRequest(body=HttpBody(data=_BODY)).SerializeToString()
    started = time.process_time()
    for _ in range(_CHATS):
        answer = await served.chat(request, Context(metadata))
        if not answer.data:
            raise RuntimeError("a chat was not answered")
    return (time.process_time() - started) / _CHATS * 1e6


@contextmanager
def _without_ledger() -> Iterator[None]:
    with mock.patch.object(Accounting, "_book", lambda _, record: setattr(record, "booked", True)):
        yield


async def _measure(dsn: str, port: int, directory: str, rounds: int) -> None:
    told = {"usage_journal_dir": directory, "embedding_backend": "none", "unknown_price": 1_000_000}
    settings = Settings.model_validate({**told, "require_api_key": False, "log_level": "warning"})
    provider = ProviderSettings.model_validate(
        {"name": "p", "base_url": f"http://127.0.0.1:{port}/v1"}
    )
    gateway = Gateway(Configuration(settings, (provider,), {}), dsn, data_dir("migrations"))
    async with AsyncExitStack() as stack:
        servers: list[Served] = []

        def served(edge: Edge, services: Sequence[Any], *, max_calls: int) -> Served:
            servers.append(Served(edge, services, max_calls=max_calls))
            return servers[0]

        stack.enter_context(mock.patch("ailb_server.app.gateway.GrpcServer", served))
        stack.push_async_callback(gateway.close)
        await gateway.start()
        keys = cast("Any", gateway)._ground.access.administration
        _, secret = await keys.create(
            NewKey(KeyTerms("benchmark", limits=_PLENTY)), Actor("benchmark")
        )
        _print(await _rounds(servers[0], secret, rounds))


async def _rounds(served: Served, secret: str, rounds: int) -> dict[str, list[float]]:
    bare = (("x-request-id", "benchmark"), ("x-envoy-original-path", "/v1/chat/completions"))
    keyed = (*bare, ("authorization", f"Bearer {secret}"))
    found: dict[str, list[float]] = {"key, limits, budget, ledger": [], "ledger": [], "none": []}
    for number in range(rounds + 1):
        with_all, with_ledger = await _chats(served, keyed), await _chats(served, bare)
        with _without_ledger():
            without = await _chats(served, bare)
        # The first is the warm-up.
        if number:
            for name, value in zip(found, (with_all, with_ledger, without), strict=True):
                found[name].append(value)
    return found


def _print(found: dict[str, list[float]]) -> None:
    for name, values in found.items():
        print(f"{name:<28} {statistics.median(values):6.1f} us  (least {min(values):.1f})")
    pairs = zip(found["key, limits, budget, ledger"], found["none"], strict=True)
    added = statistics.median(a - b for a, b in pairs)
    print(f"{'together they add':<28} {added:6.1f} us, median of pairs; aim: at most 100")


def main() -> None:
    """Prints CPU microseconds for each chat."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.keyed", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        with upstream(port, directory) as program, EmbeddedPostgres(directory / "postgres") as dsn:
            program.until_ready(lambda: post(port, _BODY.decode()) is not None)
            uvloop.run(_measure(dsn, port, str(directory / "usage"), options.rounds))


if __name__ == "__main__":
    main()
