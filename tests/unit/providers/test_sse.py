"""Server-sent events come out the same however the network cuts them."""

import itertools
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.providers import sse
from ailb_server.providers.sse import EventCutter, EventTooLargeError, data_of, split_events

_WORDS = st.text(alphabet='ab:{}"é,', min_size=1, max_size=6)
_LINES = st.one_of(
    _WORDS.map("data: {}".format),
    _WORDS.map("data:{}".format),
    _WORDS.map(": {}".format),
    _WORDS.map("event: {}".format),
)


@dataclass(frozen=True)
class Stream:
    """Events as lines, and their bytes with one kind of line end for each event."""

    events: list[list[str]]
    text: bytes


@st.composite
def streams(draw: st.DrawFn, *, closed: bool) -> Stream:
    events = draw(st.lists(st.lists(_LINES, min_size=1, max_size=3), min_size=1, max_size=5))
    text = ""
    for lines in events:
        end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
        text += "".join(line + end for line in [*lines, ""])
    return Stream(events, text.encode() if closed else text.rstrip("\r\n").encode())


def _fed(text: bytes, cuts: list[int]) -> list[bytes]:
    cutter, events = EventCutter(), []
    places = sorted({0, *(cut % (len(text) + 1) for cut in cuts), len(text)})
    for start, end in itertools.pairwise(places):
        events += split_events(cutter.feed(text[start:end]))
    return events + split_events(cutter.finish())


_CUTS = st.lists(st.integers(0, 10_000), max_size=12)


@given(streams(closed=True), _CUTS)
def test_any_cut_gives_the_same_events(stream: Stream, cuts: list[int]) -> None:
    assert _fed(stream.text, cuts) == ["\n".join(lines).encode() for lines in stream.events]


@given(streams(closed=False), _CUTS)
def test_the_last_blank_line_may_be_missing(stream: Stream, cuts: list[int]) -> None:
    assert _fed(stream.text, cuts) == ["\n".join(lines).encode() for lines in stream.events]


@given(streams(closed=True))
def test_data_is_the_data_lines_joined(stream: Stream) -> None:
    told = [data_of(event) for event in _fed(stream.text, [])]
    wanted = [
        [line.partition(":")[2].removeprefix(" ") for line in lines if line.startswith("data:")]
        for lines in stream.events
    ]
    assert told == ["\n".join(data).encode() if data else None for data in wanted]


def test_gives_out_whole_events_only() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n\ndata: 2\n") == b"data: 1\n\n"
    assert cutter.feed(b"") == b""
    assert cutter.feed(b"\ndata: 3\n\n") == b"data: 2\n\ndata: 3\n\n"
    assert cutter.finish() == b""


def test_gives_out_events_as_they_come_with_any_line_ends() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\r\n\r") == b""
    assert cutter.feed(b"\ndata: 2\r\n") == b"data: 1\r\n\r\n"
    assert cutter.feed(b"\r\ndata: 3\n\n") == b"data: 2\r\n\r\ndata: 3\n\n"


def test_gives_out_events_as_they_come_if_lines_end_with_a_carriage_return() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\r") == b""
    assert cutter.feed(b"\r") == b"data: 1\r\r"
    assert cutter.feed(b"data: 2\r\rdata: 3\r") == b"data: 2\r\r"
    assert split_events(b"event: x\rdata: 1\r\rdata: 2\r\r") == [b"event: x\ndata: 1", b"data: 2"]
    assert cutter.feed(b"\r\ndata: 4\r\r") == b"data: 3\r\r\ndata: 4\r\r"


def test_lines_of_one_event_may_end_in_any_way() -> None:
    cutter = EventCutter()
    assert cutter.feed(b"data: 1\n\r\ndata: 2\r\n\ndata: 3") == b"data: 1\n\r\ndata: 2\r\n\n"


def test_gives_reads_of_whole_events_out_unchanged() -> None:
    read = b"data: 1\n\ndata: 2\n\n"
    assert EventCutter().feed(read) == read


def test_an_endless_event_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 10)
    cutter = EventCutter()
    cutter.feed(b"data: 1234")
    with pytest.raises(EventTooLargeError):
        cutter.feed(b"5")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: {}", b"{}"),
        (b"data:{}", b"{}"),
        (b"data:  x", b" x"),
        (b"event: error\ndata: x", b"x"),
        (b"event: error\ndata:  x ", b" x "),
        (b"data: a\ndata: b", b"a\nb"),
        (b"data:", b""),
        (b": a comment with data: x", None),
        (b"event: ping", None),
        (b"database: x", None),
        (b"data x", None),
    ],
)
def test_data_of(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data
