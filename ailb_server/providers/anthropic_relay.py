"""Requests and answers of callers who speak Anthropic's format themselves: byte for byte. Pure."""

from collections.abc import Iterator
from dataclasses import replace

import orjson
from multidict import CIMultiDict

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, JsonObject
from ailb_server.domain.json_splice import splice
from ailb_server.domain.json_text import exact_dumps, exact_loads
from ailb_server.providers.anthropic_wire_answer import completion
from ailb_server.providers.anthropic_wire_stream import StreamReader

BETA = "anthropic-beta"


def relayed_body(request: ChatRequest, model: str) -> bytes:
    """The caller's bytes; edited only for a renamed model, AILB's own fields, foreign thoughts."""
    edits: dict[str, bytes | None] = dict.fromkeys(sorted(request.own_fields))
    if any(map(_is_foreign, _thoughts(request))):
        edits["messages"] = exact_dumps(_proven(exact_loads(request.body)["messages"]))
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
    """Reads a stream's events beside their relay: checks and meters them, as `StreamReader` does.

    What comes before `message_start` waits for it, so that the first chunk is an answer.
    """

    def __init__(self, *, created: int) -> None:
        self._reader = StreamReader(include_usage=False, created=created)
        self._held = b""

    @property
    def done(self) -> bool:
        """See `StreamReader`."""
        return self._reader.done

    @property
    def begun(self) -> bool:
        """See `StreamReader`."""
        return self._reader.begun

    alive = begun

    @property
    def fault(self) -> ValueError | None:
        """See `StreamReader`."""
        return self._reader.fault

    def read(self, block: bytes) -> ChatChunk:
        """Turns a block of whole events into one chunk. Raises as `StreamReader.read`."""
        told = self._reader.translate(block)
        if self.fault is not None:
            block = b"".join(event + b"\n\n" for event in told.events)
        self._held += block
        if not self.begun:
            return ChatChunk((), b"", wire_format="anthropic")
        wire, self._held = self._held, b""
        return ChatChunk(told.chunks, wire, told.usage, wire_format="anthropic")


def _thoughts(request: ChatRequest) -> Iterator[JsonObject]:
    for message in request.fields["messages"]:
        yield from message.get("thinking_blocks", ())


def _is_foreign(block: Json) -> bool:
    """Whether it is a thought of another provider's model, which AILB told without a signature.

    The API refuses it, so that a conversation begun elsewhere could not go on here.
    """
    return (
        isinstance(block, dict) and block.get("type") == "thinking" and not block.get("signature")
    )


def _proven(messages: Json) -> list[Json]:
    """The messages without foreign thoughts, and without messages that were nothing else."""
    kept = []
    for message in messages:
        content = message["content"]
        if isinstance(content, list):
            content = [block for block in content if not _is_foreign(block)]
        if content or not message["content"]:
            kept.append({**message, "content": content})
    return kept
