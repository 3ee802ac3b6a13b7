"""Where the network cuts a stream makes no difference: of every golden stream, however it is
framed, the events, the tokens and the fault are those of the uncut one.

Each test counts what it tried: at least MIN_SPLITS ways of cutting.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ailb_server.api.anthropic_wire_stream import StreamWriter
from ailb_server.domain.chat import ChatChunk
from ailb_server.domain.errors import UpstreamUnavailableError
from ailb_server.providers import anthropic_wire_stream, ollama_answer_wire, openai_wire
from ailb_server.providers.anthropic_relay import RelayReader
from ailb_server.providers.ndjson import LineCutter
from ailb_server.providers.sse import EventCutter, data_of, split_events
from tests.wire.ollama_cases import counted

MIN_SPLITS = 10_000
# Ways of cutting for each example of Hypothesis: the same sizes, begun at other places.
_PHASES = 48
_EXAMPLES = 220

Read: TypeAlias = Callable[[Sequence[bytes]], Any]
_WIRE = Path(__file__).parent
_ERROR = {
    "openai": b'data: {"error":{"message":"x","type":"server_error"}}',
    "anthropic": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error"}}',
    "ollama": b'{"error":"x"}',
}
_ENDS = (b"[DONE]", b'{"type": "message_stop"}', b'{"type":"message_stop"}')
_NOISE = (b": keep-alive", b'event: ping\ndata: {"type": "ping"}', b"data:")


def _goldens(kind: str, name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted(_WIRE.glob(f"{kind}/*/{name}"))]


def _followed(cutter: Any, reader: Any, reads: Sequence[bytes]) -> tuple[list[ChatChunk], str]:
    """The chunks, and why there are no more: as the providers' loop reads."""
    chunks: list[ChatChunk] = []
    for read in [*reads, b""]:
        try:
            block = cutter.feed(read) if read else cutter.finish()
            chunks += [reader.read(block)] if block else []
        except ValueError as error:
            return chunks, repr(error)
        if reader.fault or reader.done:
            return chunks, repr(reader.fault)
    return chunks, "truncated"


def _answer(cutter: Any, reader: Any, reads: Sequence[bytes]) -> Any:
    chunks, why = _followed(cutter, reader, reads)
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    events = [event for chunk in chunks for event in chunk.events]
    return _shown(b"".join(chunk.wire for chunk in chunks)), events, usages[-1:], why


def _shown(wire: bytes) -> list[bytes]:
    """The events with data, to the end. Comments before the answer go with it only if they come in
    the same read, and so does what follows the end."""
    shown = [event for event in split_events(wire) if (data_of(event) or b"").strip()]
    ends = [place for place, event in enumerate(shown) if data_of(event) in _ENDS]
    return shown[: ends[0] + 1] if ends else shown


def _openai(reads: Sequence[bytes]) -> Any:
    return _answer(EventCutter(), openai_wire.StreamReader(include_usage=True), reads)


def _openai_without_usage(reads: Sequence[bytes]) -> Any:
    return _answer(EventCutter(), openai_wire.StreamReader(include_usage=False), reads)


def _anthropic(reads: Sequence[bytes]) -> Any:
    reader = anthropic_wire_stream.StreamReader(include_usage=True, created=1)
    return _answer(EventCutter(), reader, reads)


def _relay(reads: Sequence[bytes]) -> Any:
    return _answer(EventCutter(), RelayReader(created=1), reads)


def _ingress(reads: Sequence[bytes]) -> Any:
    reader, writer = openai_wire.StreamReader(include_usage=True), StreamWriter()
    chunks, why = _followed(EventCutter(), reader, reads)
    try:
        wire = b"".join([*map(writer.write, chunks), writer.finish()])
    except UpstreamUnavailableError as error:
        return why, repr(error)
    return why, _shown(wire)


def _ollama(reads: Sequence[bytes]) -> Any:
    reader = ollama_answer_wire.StreamReader("m", include_usage=True, mint=counted())
    return _answer(LineCutter(), reader, reads)


_OPENAI_STREAMS = _goldens("openai", "upstream_response.sse")
_ANTHROPIC_STREAMS = _goldens("anthropic", "upstream_response.sse")
_INGRESS_STREAMS = _goldens("anthropic_ingress", "chunks.sse") + _OPENAI_STREAMS
_OLLAMA_STREAMS = _goldens("ollama", "upstream_response.ndjson")


@st.composite
def framed(draw: st.DrawFn, streams: list[bytes], error: bytes) -> bytes:
    """A golden stream, in another frame: with comments and pings between its events, an error
    amid them or no end, other line ends, no line end at the last, every character escaped."""
    events_end = b"\n" if error == _ERROR["ollama"] else b"\n\n"
    stream = draw(st.sampled_from(streams)).replace(b"\r\n", b"\n")
    events = [event for event in stream.split(events_end) if event]
    # What follows the last is not looked at.
    places = st.integers(0, len(events) - 1)
    if events_end == b"\n\n":
        for place in draw(st.lists(places, max_size=3)):
            events.insert(place, draw(st.sampled_from(_NOISE)))
    broken = draw(st.sampled_from(["", "", "error", "cut"]))
    if broken == "error":
        events.insert(draw(places), error)
    elif broken == "cut":
        del events[draw(places) + 1 :]
    text = events_end.join(events) + draw(st.sampled_from([events_end, b""]))
    if draw(st.booleans()):
        text = b"".join(_escaped(text))
    # Lines of JSON end with no bare carriage return, which may stand within.
    ends = [b"\n", b"\r\n", b"\r"] if events_end == b"\n\n" else [b"\n", b"\r\n"]
    return text.replace(b"\n", draw(st.sampled_from(ends)))


def _escaped(text: bytes) -> Iterator[bytes]:
    for character in text.decode():
        escaped = character.encode("ascii", "backslashreplace")
        units = character.encode("utf-16-be")
        pair = b"\\u%b\\u%b" % (units[:2].hex().encode(), units[2:].hex().encode())
        yield pair if character > "\uffff" else escaped.replace(b"\\x", b"\\u00")


def _cut(text: bytes, sizes: list[int], first: int) -> list[bytes]:
    places = itertools.accumulate(itertools.chain([first], itertools.cycle(sizes)))
    inner = list(itertools.takewhile(lambda place: place < len(text), places))
    return [text[a:b] for a, b in itertools.pairwise([0, *inner, len(text)])]


# Of the last, so that not every read is tiny.
_SIZES = st.builds(
    lambda tiny, large: [*tiny, large],
    st.lists(st.integers(1, 9), max_size=4),
    st.integers(20, 400),
)
_KINDS = [
    (_openai, _OPENAI_STREAMS, _ERROR["openai"]),
    (_openai_without_usage, _OPENAI_STREAMS, _ERROR["openai"]),
    (_anthropic, _ANTHROPIC_STREAMS, _ERROR["anthropic"]),
    (_relay, _ANTHROPIC_STREAMS, _ERROR["anthropic"]),
    (_ingress, _INGRESS_STREAMS, _ERROR["openai"]),
    (_ollama, _OLLAMA_STREAMS, _ERROR["ollama"]),
]
_EACH_KIND = pytest.mark.parametrize(
    ("read", "streams", "error"), _KINDS, ids=[read.__name__.strip("_") for read, *_ in _KINDS]
)


@_EACH_KIND
def test_cut_at_random(read: Read, streams: list[bytes], error: bytes) -> None:
    tried = 0

    @settings(max_examples=_EXAMPLES, deadline=None, database=None)
    @given(text=framed(streams, error), sizes=_SIZES)
    def check(text: bytes, sizes: list[int]) -> None:
        nonlocal tried
        uncut = read([text])
        for first in range(1, _PHASES + 1):
            assert read(_cut(text, sizes, first)) == uncut
            tried += 1

    check()
    assert tried >= MIN_SPLITS


@_EACH_KIND
def test_cut_at_every_place(read: Read, streams: list[bytes], error: bytes) -> None:
    for text in (stream + error for stream in streams):
        assert read([bytes([byte]) for byte in text]) == read([text])
    longest = max(streams, key=len)
    uncut = read([longest])
    for place in range(1, len(longest)):
        assert read([longest[:place], longest[place:]]) == uncut
