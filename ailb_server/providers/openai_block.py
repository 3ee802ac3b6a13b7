"""A block of a stream's events, read at once where all are as most servers write them. Pure.

`data: {…}` and an empty line, nothing else: fifty of them take two thirds to three quarters of what
they take one by one, and a stream that comes in bursts is mostly that.
"""

from dataclasses import dataclass

import orjson

from ailb_server.domain.chat import JsonObject, TokenUsage
from ailb_server.providers.openai_answer_check import are_choices
from ailb_server.providers.openai_usage import usage_of

# As most write what asking for usage puts into every event.
_USAGE_NULL = b',"usage":null'
_USAGE = b'"usage"'
_BETWEEN = b"\n\ndata: "
_DONE = b"data: [DONE]\n\n"


@dataclass(slots=True)
class PlainBlock:
    """Its chunks, what a caller gets, and the last usage told; `done` if it ends the stream."""

    chunks: list[JsonObject]
    wire: bytes
    usage: TokenUsage | None
    done: bool


def plain_block(block: bytes, *, include_usage: bool) -> PlainBlock | None:
    """None unless every event is plain and an answer: that is to be read event by event. Without
    `include_usage`, usage is told and not passed on."""
    done = block.endswith(_DONE)
    body = block[: -len(_DONE)] if done else block
    chunks = _parsed(body)
    if chunks is None:
        return None
    usage, nulls, told, alone = None, 0, 0, 0
    for chunk in chunks:
        choices = chunk.get("choices")
        if "error" in chunk or chunk.get("object") == "error" or not are_choices(choices):
            return None
        if "usage" not in chunk:
            continue
        if chunk["usage"] is None:
            nulls += 1
            continue
        usage = usage_of(chunk["usage"]) or usage
        told += 1
        alone += not choices and bool(chunk["usage"])
    if include_usage or _USAGE not in body:
        return PlainBlock(chunks, block, usage, done)
    if told != alone:
        return None
    wire = _without_usage(body, nulls, told)
    return None if wire is None else PlainBlock(chunks, wire + _DONE * done, usage, done)


def _parsed(body: bytes) -> list[JsonObject] | None:
    count = body.count(b"\n\n")
    if (
        not body.startswith(b"data: {")
        or not body.endswith(b"}\n\n")
        or body.count(b"}" + _BETWEEN + b"{") != count - 1
        or body.count(b"\n") != 2 * count
        or b"\r" in body
    ):
        return None
    try:
        chunks: list[JsonObject] = orjson.loads(b"[" + body[6:-2].replace(_BETWEEN, b",") + b"]")
    except orjson.JSONDecodeError:
        return None
    # Of two that are broken, one may complete the other.
    if len(chunks) != count or not all(isinstance(chunk, dict) for chunk in chunks):
        return None
    return chunks


def _without_usage(body: bytes, nulls: int, told: int) -> bytes | None:
    """Without the nulls and the events that tell usage; None if other words are like them."""
    if body.count(_USAGE) != nulls + told:
        return None
    shown = body.replace(_USAGE_NULL, b"")
    if len(body) - len(shown) != nulls * len(_USAGE_NULL):
        return None
    if told:
        shown = b"\n\n".join([event for event in shown.split(b"\n\n") if _USAGE not in event])
    return shown
