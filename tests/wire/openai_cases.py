"""The golden folders of OpenAI's format.

`request.json` is asked, `upstream_request.json` sent; `upstream_response.json` or `.sse` is
answered, `answer.json` or `.sse` told; `fault.json` is why the stream then breaks off. Without
`upstream_request.json` or `answer.*` the very bytes go through.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest, TokenUsage
from ailb_server.providers.openai_wire import StreamReader
from ailb_server.providers.sse import EventCutter

_FOLDER = Path(__file__).parent / "openai"


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).exists()

    def text(self, name: str, unless: str = "") -> bytes:
        """A file's bytes, or those of `unless` if there is no such file."""
        return (self.folder / (name if self.has(name) or not unless else unless)).read_bytes()

    def request(self) -> ChatRequest:
        """The request as the API parses it."""
        return parse_chat_request(self.text("request.json"))

    def fault(self) -> str:
        """Why the stream breaks off; empty if it does not."""
        return str(json.loads(self.text("fault.json"))) if self.has("fault.json") else ""

    def told(self) -> bytes:
        """The stream that the caller gets."""
        return self.text("answer.sse", "upstream_response.sse")


@dataclass
class Told:
    """What a stream that comes in some reads is told as. `fault` is why it breaks off."""

    wire: bytes
    events: list[Any]
    usages: list[TokenUsage]
    fault: str


CASES = [Case(folder) for folder in sorted(_FOLDER.iterdir())]
STREAMS = [case for case in CASES if case.has("upstream_response.sse")]
WHOLE = [case for case in CASES if case.has("upstream_response.json")]


def told(reads: Sequence[bytes], *, include_usage: bool) -> Told:
    """Reads as the provider does, up to a fault."""
    cutter, reader = EventCutter(), StreamReader(include_usage=include_usage)
    answer = Told(b"", [], [], "")
    for read in [*reads, b""]:
        if block := cutter.feed(read) if read else cutter.finish():
            chunk = reader.read(block)
            answer.wire += chunk.wire
            answer.events += chunk.events
            answer.usages += [chunk.usage] if chunk.usage else []
        if reader.fault or reader.done:
            answer.fault = str(reader.fault or "")
            return answer
    raise AssertionError("the stream has no end")
