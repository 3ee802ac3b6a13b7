"""Every fault, seen at the socket: what bytes came, in which pieces, and how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import chain

import orjson
import pytest
from yarl import URL

from ailb_server.demo.behaviour import FAULTS
from ailb_server.demo.received import Outcome, Received
from ailb_server.demo.server import DemoServer

BOUND_S = 10
TEXT = "Grüße 👋"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One raw answer. `chunks` are the HTTP chunks, that is: the server's writes."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: list[bytes]
    terminated: bool
    reset: bool

    @property
    def events(self) -> list[bytes]:
        """Payloads of the plainly framed events."""
        return [e.removeprefix(b"data: ") for e in self.body.split(b"\n\n")[:-1]]


class Wire:
    """One connection to the demo, byte by byte."""

    def __init__(self, url: str) -> None:
        self._url = URL(url)

    async def send(self, **fields: object) -> asyncio.StreamReader:
        """Post a chat with these fields and return what comes back, unread."""
        messages = [{"role": "user", "content": TEXT}]
        body = orjson.dumps({"model": "demo", "messages": messages, **fields})
        reader, self.writer = await asyncio.open_connection(self._url.host, self._url.port)
        head = f"POST {self._url.path}/chat/completions HTTP/1.1\r\nHost: demo\r\n"
        head += f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
        self.writer.write(head.encode() + body)
        await self.writer.drain()
        return reader

    async def chat(self, **fields: object) -> Exchange:
        """Post a chat and read until the connection ends."""
        return await finish(await self.send(**fields))


async def finish(reader: asyncio.StreamReader) -> Exchange:
    raw, reset = bytearray(), False
    try:
        async with asyncio.timeout(BOUND_S):
            while block := await reader.read(65536):
                raw += block
    except ConnectionResetError:
        reset = True
    return parse(bytes(raw), reset=reset)


def parse(raw: bytes, *, reset: bool) -> Exchange:
    if not raw:
        return Exchange(0, {}, b"", [], terminated=False, reset=reset)
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    pairs = (line.partition(": ") for line in lines[1:])
    headers = {name.lower(): value for name, _, value in pairs}
    status = int(lines[0].split()[1])
    if "content-length" in headers:
        whole = len(rest) == int(headers["content-length"])
        return Exchange(status, headers, rest, [], terminated=whole, reset=reset)
    chunks: list[bytes] = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return Exchange(status, headers, b"".join(chunks), chunks, terminated=True, reset=reset)
        chunks.append(rest[:length])
        rest = rest[length + 2 :]
    return Exchange(status, headers, b"".join(chunks), chunks, terminated=False, reset=reset)


@pytest.fixture
def wire(url: str) -> Wire:
    return Wire(url)


def text_of(events: list[bytes]) -> str:
    chunks = [orjson.loads(event) for event in events if event.startswith(b"{")]
    deltas = chain.from_iterable(chunk["choices"] for chunk in chunks)
    return "".join(choice["delta"].get("content") or "" for choice in deltas)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND_S):
        while not condition():  # noqa: ASYNC110 - it is the server that changes it
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("fault", "reset"), [("reset", True), ("close", False)])
async def test_before_any_byte(
    wire: Wire, seen: list[Received], fault: str, *, reset: bool, stream: bool
) -> None:
    got = await wire.chat(stream=stream, demo={"fault": fault})
    assert (got.status, got.reset) == (0, reset)
    assert await seen[0].over() is Outcome.BROKEN


@pytest.mark.parametrize("stream", [False, True])
async def test_stall_sends_nothing_until_the_server_stops(
    wire: Wire, demo: DemoServer, seen: list[Received], *, stream: bool
) -> None:
    reader = await wire.send(stream=stream, demo={"fault": "stall"})
    await until(lambda: len(seen) == 1)
    assert (demo.open_requests, seen[0].outcome) == (1, Outcome.OPEN)
    await demo.stop()
    assert (await finish(reader)).status == 0
    assert (demo.open_requests, seen[0].outcome) == (0, Outcome.BROKEN)


@pytest.mark.parametrize("stream", [False, True])
async def test_stall_headers_sends_the_head_only(
    wire: Wire, demo: DemoServer, seen: list[Received], *, stream: bool
) -> None:
    reader = await wire.send(stream=stream, demo={"fault": "stall_headers"})
    async with asyncio.timeout(BOUND_S):
        head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert seen[0].outcome is Outcome.OPEN
    await demo.stop()
    assert await reader.read() == b""


async def test_stall_late_stops_after_so_many_events(wire: Wire, demo: DemoServer) -> None:
    reader = await wire.send(stream=True, demo={"fault": "stall_late", "after": 3})
    async with asyncio.timeout(BOUND_S):
        raw = b"".join([await reader.readuntil(b"\n\n") for _ in range(3)])
    await demo.stop()
    raw += await reader.read()
    got = parse(raw, reset=False)
    assert (len(got.events), got.terminated) == (3, False)


async def test_stall_late_in_a_body(wire: Wire, demo: DemoServer) -> None:
    reader = await wire.send(demo={"fault": "stall_late"})
    async with asyncio.timeout(BOUND_S):
        head = await reader.readuntil(b'{"id"')
    await demo.stop()
    got = parse(head + await reader.read(), reset=False)
    assert len(got.body) == int(got.headers["content-length"]) // 2


async def test_cut_ends_a_stream_without_its_terminating_chunk(
    wire: Wire, seen: list[Received]
) -> None:
    for after in (0, 1, 4):
        got = await wire.chat(stream=True, demo={"fault": "cut", "after": after})
        assert (got.status, len(got.events), got.terminated) == (200, after, False)
        assert await seen[-1].over() is Outcome.BROKEN


async def test_cut_ends_a_body_at_its_half(wire: Wire) -> None:
    got = await wire.chat(demo={"fault": "cut"})
    assert (got.status, got.terminated) == (200, False)
    assert len(got.body) == int(got.headers["content-length"]) // 2


async def test_eof_is_clean_but_not_complete(wire: Wire) -> None:
    stream = await wire.chat(stream=True, demo={"fault": "eof"})
    assert stream.terminated
    assert b"[DONE]" not in stream.body
    assert orjson.loads(stream.events[-1])["choices"][0]["finish_reason"] == "stop"
    body = await wire.chat(demo={"fault": "eof"})
    assert body.terminated
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body.body)


@pytest.mark.parametrize(
    ("fault", "after", "place"), [("malformed", 9, 0), ("malformed_late", 4, 3)]
)
async def test_malformed(wire: Wire, fault: str, after: int, place: int) -> None:
    stream = await wire.chat(stream=True, demo={"fault": fault, "after": after})
    broken = [i for i, event in enumerate(stream.events[:-1]) if not is_json(event)]
    assert broken == [place]
    assert stream.events[-1] == b"[DONE]"
    body = await wire.chat(demo={"fault": fault})
    assert (body.status, body.terminated, is_json(body.body)) == (200, True, False)


def is_json(text: bytes) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


@pytest.mark.parametrize(("fault", "place"), [("error_in_200", 0), ("error_late", 3)])
async def test_errors_inside_a_200(wire: Wire, fault: str, place: int) -> None:
    wish = {"fault": fault, "after": 3, "status": 429}
    stream = await wire.chat(stream=True, demo=wish)
    assert (stream.status, len(stream.events), stream.terminated) == (200, place + 1, True)
    body = await wire.chat(demo=wish)
    assert body.status == 200
    for text in (stream.events[-1], body.body):
        assert orjson.loads(text)["error"]["code"] == "rate_limit_exceeded"


@pytest.mark.parametrize("stream", [False, True])
async def test_empty_and_html(wire: Wire, *, stream: bool) -> None:
    empty = await wire.chat(stream=stream, demo={"fault": "empty"})
    assert (empty.status, empty.body, empty.terminated) == (200, b"", True)
    assert ("event-stream" in empty.headers["content-type"]) is stream
    html = await wire.chat(stream=stream, demo={"fault": "html"})
    assert (html.status, html.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert html.body.startswith(b"<!doctype html>")


async def test_split_cuts_at_awkward_places(wire: Wire) -> None:
    got = await wire.chat(stream=True, demo={"fault": "split"})
    cuts = list(zip(got.chunks, got.chunks[1:], strict=False))
    assert any(left.endswith(b"da") and right.startswith(b"ta:") for left, right in cuts)
    assert any(left.endswith(b"\n") and right == b"\n" for left, right in cuts)
    assert any(right[0] & 0xC0 == 0x80 for _, right in cuts)
    assert text_of(got.events) == f'[demo] You said: "{TEXT}"'
    assert got.events[-1] == b"[DONE]"


async def test_framings_carry_the_same_events(wire: Wire) -> None:
    crlf = await wire.chat(stream=True, demo={"fault": "crlf"})
    tight = await wire.chat(stream=True, demo={"fault": "no_space"})
    noted = await wire.chat(stream=True, demo={"fault": "comments"})
    assert b"\n\n" not in crlf.body
    assert crlf.body.endswith(b"data: [DONE]\r\n\r\n")
    assert b"data: " not in tight.body
    assert tight.body.endswith(b"data:[DONE]\n\n")
    lines = noted.body.split(b"\n")
    assert sum(line.startswith(b": ") for line in lines) == 2 * crlf.body.count(b"data: ")
    for got in (crlf, tight, noted):
        data = [x for x in got.body.replace(b"\r", b"").split(b"\n") if x.startswith(b"data:")]
        payloads = [line.removeprefix(b"data:").lstrip() for line in data]
        assert text_of(payloads) == f'[demo] You said: "{TEXT}"'


async def test_usage_with_choices(wire: Wire) -> None:
    for options in (None, {"include_usage": True}):
        got = await wire.chat(
            stream=True, stream_options=options, demo={"fault": "usage_with_choices"}
        )
        last = orjson.loads(got.events[-2])
        assert last["choices"][0]["finish_reason"] == "stop"
        assert last["usage"]["completion_tokens"] == 5
        assert all(orjson.loads(e).get("usage") is None for e in got.events[:-2])


async def test_chunks_per_write_coalesces(wire: Wire) -> None:
    single = await wire.chat(stream=True, demo={"words": 20})
    joined = await wire.chat(stream=True, demo={"words": 20, "chunks_per_write": 8})
    assert [len(got.events) for got in (single, joined)] == [23, 23]
    assert [len(got.chunks) for got in (single, joined)] == [23, 3]


def test_every_fault_is_tried_here() -> None:
    tried = {
        "reset close stall stall_headers stall_late cut eof malformed malformed_late",
        "error_in_200 error_late empty html split crlf no_space comments usage_with_choices",
    }
    assert set(" ".join(tried).split()) == FAULTS
