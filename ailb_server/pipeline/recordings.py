"""Recordings of answers as bytes, and back; and what may become one. Pure.

A head of JSON behind its length in four bytes, then the chunks' wires as they were.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, astuple
from itertools import chain
from typing import Self

from ailb_server.domain.chat import ChatChunk, ChatRequest, Json, JsonObject, Operation, TokenUsage
from ailb_server.domain.context import Source
from ailb_server.domain.json_text import exact_dumps, exact_loads
from ailb_server.domain.repeats import Recording

_LENGTH = 4
# Any other reason, such as a filter's, may be another one the next time.
_GOOD_ENDS = frozenset({"stop", "length", "tool_calls", "function_call"})


class Recorder:
    """Gathers an answer's chunks, as long as their wires take at most `max_bytes` together."""

    __slots__ = ("_left", "chunks")

    def __init__(self, max_bytes: int) -> None:
        self._left = max_bytes
        self.chunks: list[ChatChunk] = []

    def add(self, chunk: ChatChunk) -> None:
        """Takes the next piece."""
        self._left -= len(chunk.wire)
        if self._left >= 0:
            self.chunks.append(chunk)
        else:
            self.chunks.clear()

    @property
    def whole(self) -> bool:
        """Whether all of it was taken."""
        return self._left >= 0


class Replay:
    """Chunks as an answer has them. No generator: whoever leaves it has nothing to close."""

    __slots__ = ("_chunks",)

    def __init__(self, chunks: Iterable[ChatChunk]) -> None:
        self._chunks = iter(chunks)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChatChunk:
        for chunk in self._chunks:
            return chunk
        raise StopAsyncIteration


def recording_bytes(recording: Recording, max_bytes: int) -> bytes | None:
    """None if it takes more, or cannot be written as JSON."""
    head = {
        "provider": recording.provider,
        "model": recording.model,
        "ignored": sorted(recording.ignored),
        "sources": [asdict(source) for source in recording.sources],
        "degraded": list(recording.degraded),
        "chunks": [_told(chunk) for chunk in recording.chunks],
    }
    try:
        text = exact_dumps(head)
    except (TypeError, ValueError):
        return None
    wires = [chunk.wire for chunk in recording.chunks]
    whole = b"".join((len(text).to_bytes(_LENGTH), text, *wires))
    return whole if len(whole) <= max_bytes else None


def recording_of(whole: bytes) -> Recording:
    """The recording that `recording_bytes` wrote."""
    start = _LENGTH + int.from_bytes(whole[:_LENGTH])
    head: JsonObject = exact_loads(whole[_LENGTH:start])
    return Recording(
        head["provider"],
        head["model"],
        tuple(_chunks(head["chunks"], whole, start)),
        frozenset(head["ignored"]),
        tuple(Source(**source) for source in head["sources"]),
        tuple(head["degraded"]),
    )


def is_good(request: ChatRequest, chunks: Sequence[ChatChunk]) -> bool:
    """Whether a whole answer is worth to be given again: no choice was refused or filtered, and
    each that began came to an end of its own or at the length that was asked for."""
    events = list(chain.from_iterable(chunk.events for chunk in chunks))
    if request.operation is Operation.EMBEDDING:
        return bool(events) and bool(events[0].get("data"))
    begun: set[Json] = set()
    ended: set[Json] = set()
    for choice in _choices(events):
        index = choice.get("index") or 0
        if not isinstance(index, int) or _is_refusal(choice):
            return False
        begun.add(index)
        if reason := choice.get("finish_reason"):
            if reason not in _GOOD_ENDS:
                return False
            ended.add(index)
    return bool(begun) and begun == ended


def _choices(events: Iterable[JsonObject]) -> Iterator[JsonObject]:
    for event in events:
        choices = event.get("choices")
        if isinstance(choices, list):
            # What is no object is told as one that is not good.
            yield from (one if isinstance(one, dict) else {"index": ""} for one in choices)


def _is_refusal(choice: JsonObject) -> bool:
    said = choice.get("delta") or choice.get("message")
    return isinstance(said, dict) and bool(said.get("refusal"))


def _told(chunk: ChatChunk) -> list[Json]:
    usage = None if chunk.usage is None else astuple(chunk.usage)
    return [list(chunk.events), len(chunk.wire), usage, chunk.wire_format]


def _chunks(told: list[Json], whole: bytes, start: int) -> Iterator[ChatChunk]:
    for events, length, usage, wire_format in told:
        wire = whole[start : start + length]
        start += length
        tokens = None if usage is None else TokenUsage(*usage)
        yield ChatChunk(tuple(events), wire, tokens, wire_format)
