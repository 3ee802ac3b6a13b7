"""One loopback upstream for each kind of provider, all of which fail in the same ways."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Protocol, TypeAlias

import orjson
from typing_extensions import override

from ailb_server.demo.behaviour import FAULTS
from ailb_server.demo.received import Outcome, Received
from ailb_server.demo.server import DemoServer
from ailb_server.domain.ports import ChatProvider
from ailb_server.providers.anthropic import AnthropicProvider
from ailb_server.providers.anthropic_account import AnthropicAccount
from ailb_server.providers.ollama import OllamaProvider, OllamaServer
from ailb_server.providers.openai import OpenAIProvider
from ailb_server.providers.openai_account import OpenAIAccount
from ailb_server.providers.upstream import Timeouts, Upstream
from tests.support import anthropic_upstream as anthropic
from tests.support import ollama_upstream as ollama

NAME = "p"
RETRY_AFTER_S = 7
POOL_SIZE = 10
_RETRY = {"retry-after": str(RETRY_AFTER_S)}
_HTML = b"<html>oops</html>\n"
Scripts: TypeAlias = Mapping[str, anthropic.Script]


class Closable(ChatProvider, Protocol):
    """A provider as the composition root holds it."""

    async def close(self) -> None:
        """Closes all connections."""
        ...


class Rig(ABC):
    """An upstream, and providers at it. `model` is one that it has.

    The faults are those of docs/demo-provider.md; what is late comes once an answer has begun.
    """

    model: str
    url: str

    @abstractmethod
    async def start(self) -> None:
        """Listens."""

    @abstractmethod
    async def stop(self) -> None:
        """Refuses connections from now on."""

    @abstractmethod
    def fail(self, fault: str, *, stream: bool) -> None:
        """Every later answer and listing fails so."""

    @abstractmethod
    def answer_status(self, status: int) -> None:
        """Every later answer and listing has this status, and a retry-after of RETRY_AFTER_S."""

    def answer_too_long(self) -> bool:
        """Every later answer says that the prompt is too long; False if it knows no such answer."""
        return False

    @abstractmethod
    def provider(self, timeouts: Timeouts) -> Closable:
        """A provider at this upstream, to be closed by the caller."""

    @abstractmethod
    async def left(self) -> None:
        """Waits until the last call is seen to be over because the caller left."""

    @property
    @abstractmethod
    def calls(self) -> int:
        """How many chats have come."""


class OpenAIRig(Rig):
    """The demo server."""

    model = "demo"

    def __init__(self) -> None:
        self._received: list[Received] = []
        self._server = DemoServer(observe=self._received.append)

    @override
    async def start(self) -> None:
        self.url = await self._server.start()

    @override
    async def stop(self) -> None:
        await self._server.stop()

    @override
    def fail(self, fault: str, *, stream: bool) -> None:
        assert fault in FAULTS
        self._server.behave({"fault": fault})

    @override
    def answer_status(self, status: int) -> None:
        self._server.behave({"status": status, "headers": _RETRY})

    @override
    def answer_too_long(self) -> bool:
        error = {
            "message": "This model's maximum context length is 9 tokens.",
            "type": "invalid_request_error",
            "param": "messages",
            "code": "context_length_exceeded",
        }
        self._server.behave({"status": 400, "error_body": {"error": error}})
        return True

    @override
    def provider(self, timeouts: Timeouts) -> Closable:
        account = OpenAIAccount(NAME, self.url, "sk-x", headers={})
        return OpenAIProvider(NAME, account, _upstream(timeouts))

    @override
    async def left(self) -> None:
        assert await self._received[-1].over() is Outcome.ABORTED

    @property
    @override
    def calls(self) -> int:
        return sum(received.method == "POST" for received in self._received)


class AnthropicRig(Rig):
    """A scripted Messages API."""

    model = anthropic.MODEL

    def __init__(self) -> None:
        model = {"id": self.model, "type": "model", "lifecycle": "active"}
        self._server = anthropic.AnthropicUpstream(models=[model])

    @override
    async def start(self) -> None:
        await self._server.__aenter__()
        self.url = self._server.url

    @override
    async def stop(self) -> None:
        await self._server.__aexit__(None, None, None)

    @override
    def fail(self, fault: str, *, stream: bool) -> None:
        scripts = _ANTHROPIC_STREAMED if stream else _ANTHROPIC_WHOLE
        self._server.script = self._server.listing = scripts[fault]

    @override
    def answer_status(self, status: int) -> None:
        headers = {"content-type": "application/json", **_RETRY}
        kind = "not_found_error" if status == HTTPStatus.NOT_FOUND else "some_error"
        script = anthropic.Script([anthropic.error_body(kind, "no")], status, headers)
        self._server.script = self._server.listing = script

    @override
    def answer_too_long(self) -> bool:
        body = anthropic.error_body("invalid_request_error", anthropic.TOO_LONG)
        self._server.script = anthropic.Script([body], 400, {"content-type": "application/json"})
        return True

    @override
    def provider(self, timeouts: Timeouts) -> Closable:
        account = AnthropicAccount(NAME, self.url, "sk-ant-x", headers={})
        return AnthropicProvider(NAME, account, _upstream(timeouts))

    @override
    async def left(self) -> None:
        await self._server.gone.wait()

    @property
    @override
    def calls(self) -> int:
        return len(self._server.received)


class OllamaRig(Rig):
    """A scripted Ollama."""

    model = "llama3.2:3b"

    def __init__(self) -> None:
        self._server = ollama.OllamaUpstream()

    @override
    async def start(self) -> None:
        self.url = await self._server.start()

    @override
    async def stop(self) -> None:
        await self._server.stop()

    @override
    def fail(self, fault: str, *, stream: bool) -> None:
        begun = _BEGUN if stream else _BEGUN[:40]
        bodies = {
            "eof": begun,
            "malformed": b"{oops}\n",
            "malformed_late": begun + b"{oops}\n",
            "error_in_200": _OLLAMA_ERROR,
            "error_late": begun + _OLLAMA_ERROR,
            "empty": b"",
            "html": _HTML,
        }
        breaks = _OLLAMA_FAULTS.get(fault, "")
        body = begun if breaks else bodies[fault]
        self._server.script = self._server.tags = ollama.Script(body=body, fault=breaks)

    @override
    def answer_status(self, status: int) -> None:
        script = ollama.Script(body=b'{"error":"no"}', status=status, headers=dict(_RETRY))
        self._server.script = self._server.tags = script

    @override
    def provider(self, timeouts: Timeouts) -> Closable:
        return OllamaProvider(NAME, OllamaServer(self.url, 8192), _upstream(timeouts))

    @override
    async def left(self) -> None:
        await self._server.received[-1].left.wait()

    @property
    @override
    def calls(self) -> int:
        return sum(received.path == "/api/chat" for received in self._server.received)


RIGS: Mapping[str, type[Rig]] = MappingProxyType(
    {"openai": OpenAIRig, "anthropic": AnthropicRig, "ollama": OllamaRig}
)


def _upstream(timeouts: Timeouts) -> Upstream:
    return Upstream(NAME, timeouts=timeouts, pool_size=POOL_SIZE)


def _scripts(
    begun: Sequence[bytes], malformed: bytes, error: bytes, kind: Mapping[str, str]
) -> Scripts:
    """Anthropic's answers that fail; `begun` is the beginning of a sound one."""

    def script(*pieces: bytes, end: str = "finish") -> anthropic.Script:
        return anthropic.Script(pieces, headers=kind, end=end)

    return {
        "reset": anthropic.Script(end="reset", head=False),
        "stall": anthropic.Script(end="stall", head=False),
        "stall_headers": script(end="stall"),
        "stall_late": script(*begun, end="stall"),
        "cut": script(*begun, end="reset"),
        "eof": script(*begun),
        "malformed": script(malformed),
        "malformed_late": script(*begun, malformed),
        "error_in_200": script(error),
        "error_late": script(*begun, error),
        "empty": script(),
        "html": script(_HTML),
    }


_ERROR = anthropic.error_body("overloaded_error", "Overloaded")
_ANTHROPIC_STREAMED = _scripts(
    anthropic.STREAM[:4],
    b"event: message_start\ndata: {]\n\n",
    anthropic.sse(orjson.loads(_ERROR)),
    anthropic.EVENT_STREAM,
)
_ANTHROPIC_WHOLE = _scripts(
    [orjson.dumps(anthropic.MESSAGE)[:40]], b"{]", _ERROR, {"content-type": "application/json"}
)
_BEGUN = ollama.ndjson([ollama.line("Hello")])
_OLLAMA_FAULTS: Mapping[str, ollama.Fault] = {
    "reset": "reset",
    "stall": "stall",
    "stall_headers": "stall_headers",
    "stall_late": "stall_late",
    "cut": "cut",
}
_OLLAMA_ERROR = b'{"error":"llama runner process has terminated"}\n'


async def bounded_left(rig: Rig, patience_s: float) -> None:
    """`left`, but not for ever."""
    async with asyncio.timeout(patience_s):
        await rig.left()


async def eventually(condition: Callable[[], bool], patience_s: float) -> None:
    """Waits until it is true, but not for ever."""
    async with asyncio.timeout(patience_s):
        while not condition():  # noqa: ASYNC110 - what it asks tells nobody of its changes
            await asyncio.sleep(0.01)
