"""The golden folders of Ollama.

`request.json` is asked (streamed and whole, so without `stream`), `upstream_request.json` is sent
(but for its `stream`), `ignored.json` names what the provider ignores (none without the file);
`upstream_response.json` and `.ndjson` are answered, `answer.json` and `answer.sse` told; a stream
that breaks off has `fault.json`, and no whole. What is refused has `refused.json` instead.
"""

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ailb_server.api.openai_wire import parse_chat_request
from ailb_server.domain.chat import ChatRequest
from ailb_server.providers.ndjson import LineCutter
from ailb_server.providers.ollama_answer_wire import StreamReader
from ailb_server.providers.ollama_line_wire import Mint
from tests.wire.refusals import is_refusal

_FOLDER = Path(__file__).parent / "ollama"
NUM_CTX = 8192


@dataclass(frozen=True)
class Case:
    """One folder."""

    folder: Path

    def text(self, name: str) -> bytes:
        """A file's bytes."""
        return (self.folder / name).read_bytes()

    def json(self, name: str) -> Any:
        """A file's JSON."""
        return json.loads(self.text(name))

    def ignored(self) -> tuple[str, ...]:
        """The names that the answer's header tells."""
        return tuple(self.json("ignored.json")) if self.has("ignored.json") else ()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.folder / name).exists()

    def request(self, *, stream: bool) -> ChatRequest:
        """The request as the API parses it."""
        return parse_chat_request(
            json.dumps({**self.json("request.json"), "stream": stream}).encode()
        )


_FOLDERS = sorted(_FOLDER.iterdir())
CASES = [Case(folder) for folder in _FOLDERS if (folder / "answer.json").exists()]
BROKEN = [Case(folder) for folder in _FOLDERS if (folder / "fault.json").exists()]
REFUSALS = [Case(folder) for folder in _FOLDERS if is_refusal(folder)]


def counted() -> Mint:
    """Mints 1, 2, …, at the time 1000."""
    numbers = itertools.count(1)
    return Mint(token=lambda: str(next(numbers)), now=lambda: 1000.0)


def told(reads: Sequence[bytes], *, include_usage: bool) -> tuple[bytes, list[Any], list[Any]]:
    """What a stream that comes in these reads is told as: text, events, usages."""
    cutter = LineCutter()
    reader = StreamReader("asked", include_usage=include_usage, mint=counted())
    chunks = [reader.read(cutter.feed(read)) for read in reads]
    chunks.append(reader.read(cutter.finish()))
    assert reader.done
    return (
        b"".join(chunk.wire for chunk in chunks),
        [event for chunk in chunks for event in chunk.events],
        [chunk.usage for chunk in chunks if chunk.usage],
    )
