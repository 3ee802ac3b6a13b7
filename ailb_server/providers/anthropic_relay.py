"""Requests and answers of callers who speak Anthropic's format themselves: byte for byte. Pure."""

from dataclasses import replace

import orjson
from multidict import CIMultiDict

from ailb_server.domain.chat import ChatChunk, ChatRequest
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_stream import StreamReader
from ailb_server.providers.json_splice import splice

BETA = "anthropic-beta"


def relayed_body(request: ChatRequest, model: str) -> bytes:
    """The caller's bytes; edited only for a renamed model and for AILB's own fields."""
    edits: dict[str, bytes | None] = dict.fromkeys(sorted(request.own_fields))
    if model != request.model:
        edits["model"] = orjson.dumps(model)
    return splice(request.body, edits)


def relayed_headers(template: CIMultiDict[str], request: ChatRequest) -> CIMultiDict[str]:
    """The provider's headers with the caller's: the version is the caller's, betas add up."""
    if not request.headers:
        return template
    headers = template.copy()
    headers.update(request.headers)
    if BETA in template and BETA in request.headers:
        headers[BETA] = f"{template[BETA]},{request.headers[BETA]}"
    return headers


def relayed_completion(body: bytes, created: int) -> ChatChunk:
    """A whole answer, checked and metered; its bytes stay as they are. Raises as `completion`."""
    return replace(completion(body, created), wire=body, wire_format="anthropic")


class RelayReader:
    """Reads a stream's events beside their relay: checks and meters them.

    What comes before `message_start` waits for it, so that the first chunk is an answer.
    """

    def __init__(self, *, created: int) -> None:
        self._reader = StreamReader(include_usage=False, created=created)
        self._held = b""
        self._begun = False

    @property
    def done(self) -> bool:
        """Whether `message_stop` has come."""
        return self._reader.done

    def read(self, block: bytes) -> ChatChunk:
        """Turns a block of whole events into one chunk. Raises as `StreamReader.read`."""
        events, usage = self._reader.translate(block)
        self._held += block
        self._begun = self._begun or bool(events)
        if not self._begun:
            return ChatChunk((), b"", wire_format="anthropic")
        wire, self._held = self._held, b""
        return ChatChunk(events, wire, usage, wire_format="anthropic")
