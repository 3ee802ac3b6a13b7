"""An instance in the test's own loop, by files that a test may change, as MarchProxy sees it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc
import yaml
from google.protobuf.struct_pb2 import Struct

from ailb.v1 import (
    api_key_pb2,
    api_key_service_pb2,
    api_key_service_pb2_grpc,
    chat_pb2,
    chat_service_pb2,
    chat_service_pb2_grpc,
)
from ailb_server.app import Gateway, Process
from ailb_server.demo.received import Received
from ailb_server.demo.server import DemoServer
from ailb_server.settings import load
from marchproxy import module_pb2_grpc
from tests.support.stack import PATIENCE_S, REPOSITORY

ADMIN = "sk-admin-for-the-tests-of-modules"
Json = dict[str, Any]
_AS_ADMIN = (("authorization", f"Bearer {ADMIN}"),)


class Upstream:
    """A demo server, and what it has received."""

    def __init__(self, models: tuple[str, ...]) -> None:
        self.received: list[Received] = []
        self.server = DemoServer(observe=self.received.append, models=models)

    def chats(self) -> list[Received]:
        """The chats alone."""
        return [one for one in self.received if one.path.endswith("/chat/completions")]


class ModuleInstance:
    """`ends` counts how often the process was asked to end."""

    def __init__(self, dsn: str, directory: Path, **environment: object) -> None:
        self.dsn = dsn
        self._env = directory / f"{environment.get('MODULE_ID', 'ailb-1')}.env"
        self.yaml = self._env.with_suffix(".yaml")
        self._environment: dict[str, object] = {
            "AILB_CONFIG": self.yaml,
            "ADMIN_API_KEY": ADMIN,
            "EMBEDDING_BACKEND": "none",
            # All of a test comes from loopback, which would be enough.
            "MODULE_ALLOWED_CIDRS": "none",
            "USAGE_JOURNAL_DIR": directory / "usage",
            "CONNECT_TIMEOUT_S": 1,
            "DRAIN_TIMEOUT_S": 5,
            "RATE_LIMIT_WAIT_S": 0,
            **environment,
        }
        self.ends = 0
        self._stack = contextlib.AsyncExitStack()

    def set(self, **environment: object) -> None:
        """Changes the .env file."""
        self._environment |= environment
        lines = (f"{name}={value}\n" for name, value in self._environment.items())
        self._env.write_text("".join(lines), encoding="utf-8")

    def write(self, file: Mapping[str, Any] | str) -> None:
        """Changes the YAML file."""
        text = file if isinstance(file, str) else yaml.safe_dump(dict(file))
        self.yaml.write_text(text, encoding="utf-8")

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends it. May be repeated."""
        await self._stack.aclose()

    async def _start(self) -> None:
        self.set()
        process = Process(read=lambda: load(self._env), end=self._ended)
        self.gateway = Gateway(load(self._env), self.dsn, REPOSITORY / "migrations", process)
        port = await self.gateway.start(port=0)
        self._stack.push_async_callback(self.gateway.close)
        self.address = f"127.0.0.1:{port}"
        self.channel = await self._stack.enter_async_context(
            grpc.aio.insecure_channel(self.address)
        )
        stub: Any = module_pb2_grpc.ModuleServiceStub(self.channel)
        self._stub = stub
        keys: Any = api_key_service_pb2_grpc.ApiKeyServiceStub(self.channel)
        request = api_key_service_pb2.CreateApiKeyRequest(
            name="nlb", role=api_key_pb2.KEY_ROLE_MODULE
        )
        made = await keys.CreateApiKey(request, metadata=_AS_ADMIN, timeout=PATIENCE_S)
        self.key = made.secret

    async def call(self, request: Any, rpc: str = "") -> Any:
        """What the method of the request's name answers to the load balancer."""
        name = rpc or type(request).__name__.removesuffix("Request")
        metadata = (("authorization", f"Bearer {self.key}"),)
        return await getattr(self._stub, name)(request, metadata=metadata, timeout=PATIENCE_S)

    def stream(self, request: Any) -> Any:
        """The call of StreamMetrics."""
        metadata = (("authorization", f"Bearer {self.key}"),)
        return self._stub.StreamMetrics(request, metadata=metadata)

    async def say(self, model: str = "demo", **wishes: float) -> str:
        """See `say`."""
        return await say(self.channel, model, **wishes)

    def _ended(self) -> None:
        self.ends += 1


async def say(channel: grpc.aio.Channel, model: str, **wishes: float) -> str:
    """A streamed answer to the admin, whole; `wishes` tell the demo how to behave."""
    asked = Struct()
    asked.update({"demo": wishes} if wishes else {})
    text = chat_pb2.ContentPart(text="Say hello!")
    parameters = chat_pb2.ChatCompletionParameters(
        model=model,
        messages=[chat_pb2.Message(role=chat_pb2.ROLE_USER, content=[text])],
        additional_parameters=asked,
    )
    request = chat_service_pb2.StreamChatCompletionRequest(parameters=parameters)
    stub: Any = chat_service_pb2_grpc.ChatServiceStub(channel)
    answers = stub.StreamChatCompletion(request, metadata=_AS_ADMIN)
    return "".join(
        [
            part.text
            async for answer in answers
            for choice in answer.chunk.choices
            for part in choice.delta.content
        ]
    )


async def until(condition: Callable[[], Awaitable[object]], patience_s: float = PATIENCE_S) -> None:
    """Waits until an awaitable condition holds; fails after `patience_s`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + patience_s
    while not await condition():
        assert loop.time() < end, "it did not come true in time"
        await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def demo(*models: str) -> AsyncIterator[tuple[Upstream, Json]]:
    """An upstream that lists `models` too, and what a YAML file says of it but its name."""
    upstream = Upstream(models)
    url = await upstream.server.start()
    try:
        yield upstream, {"base_url": url}
    finally:
        await upstream.server.stop()
