"""Writes an answer's sources into the answer: `"ailb": {"sources": […]}`. Pure."""

import re
from collections.abc import Sequence
from dataclasses import asdict, replace

import orjson

from ailb_server.domain.chat import ChatChunk, JsonObject
from ailb_server.domain.context import Source
from ailb_server.domain.json_splice import append

# A server-sent event that is one line of JSON, as all chunks of OpenAI's format are.
_DATA = re.compile(rb"^data:[ \t]*(\{.*\})[ \t]*(?=\r?$)", re.MULTILINE)


def with_sources(chunk: ChatChunk, sources: Sequence[Source], *, stream: bool) -> ChatChunk:
    """The chunk with the sources in its answer, or in the event that ends the first choice.

    An answer in another format than OpenAI's is left as it is.
    """
    ailb = {"sources": [asdict(source) for source in sources]}
    events = [
        {**event, "ailb": ailb} if not stream or ends(event) else event for event in chunk.events
    ]
    if chunk.wire_format != "openai":
        return replace(chunk, events=events)
    text = orjson.dumps(ailb)
    wire = _told(chunk.wire, text) if stream else append(chunk.wire, "ailb", text)
    return replace(chunk, events=events, wire=wire)


def ends(event: JsonObject) -> bool:
    """Whether the event tells why a choice ended."""
    choices = event.get("choices")
    return isinstance(choices, list) and any(
        isinstance(choice, dict) and choice.get("finish_reason") for choice in choices
    )


def _told(wire: bytes, ailb: bytes) -> bytes:
    def told(match: re.Match[bytes]) -> bytes:
        text = match[1]
        if not ends(orjson.loads(text)):
            return match[0]
        return b"data: " + append(text, "ailb", ailb)

    return _DATA.sub(told, wire)
