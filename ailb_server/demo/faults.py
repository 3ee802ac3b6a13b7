"""Replies turned into scripts: what goes over the socket, block by block, and how it ends.

Pure: every fault is a change of a reply, of its framing, or of the script's end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from itertools import pairwise
from typing import Final

from ailb_server.demo.behaviour import Behaviour
from ailb_server.demo.errors import error_for
from ailb_server.demo.reply import SSE, Reply
from ailb_server.demo.wire import DONE

_BROKEN: Final = b'{"id":"chatcmpl-demo","object":"chat.comple'
_HTML: Final = b"<!doctype html>\n<html><body><h1>502 Bad Gateway</h1></body></html>\n"
# Long enough that two parts of an event are two reads of the receiver.
_SPLIT_PAUSE_S: Final = 0.001


class Ending(Enum):
    """How a script ends once its blocks are written."""

    FINISH = "finish"
    HANG_UP = "hang up"
    RESET = "reset"
    STALL = "stall"


@dataclass(frozen=True, slots=True)
class Script:
    """`head` False: not even a status line is sent. `length` None: chunked encoding."""

    ending: Ending
    head: bool = True
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    blocks: Sequence[bytes] = ()
    length: int | None = None
    pause_s: float = 0.0


_SILENT: Final[Mapping[str | None, Ending]] = {
    "reset": Ending.RESET,
    "close": Ending.HANG_UP,
    "stall": Ending.STALL,
}
_CUT_SHORT: Final[Mapping[str | None, Ending]] = {
    "cut": Ending.HANG_UP,
    "stall_late": Ending.STALL,
    "stall_headers": Ending.STALL,
}


def compose(reply: Reply, how: Behaviour, headers: Mapping[str, str]) -> Script:
    """The script of a reply; `headers` precede the behaviour's own."""
    silent = _SILENT.get(how.fault)
    if silent is not None:
        return Script(silent, head=False)
    change = _CHANGES.get(how.fault)
    if change is not None:
        reply = change(reply, how)
    written = {**headers, "content-type": reply.content_type}
    for name, value in how.headers.items():
        written[name.lower()] = value
    ending = _CUT_SHORT.get(how.fault, Ending.FINISH)
    if reply.events is None:
        return _body_script(reply, how, written, ending)
    return _stream_script(reply.events, how, written, ending)


def _body_script(
    reply: Reply, how: Behaviour, headers: Mapping[str, str], ending: Ending
) -> Script:
    body = reply.body
    sent = {"cut": len(body) // 2, "stall_late": len(body) // 2, "stall_headers": 0}
    blocks = [body[: sent.get(how.fault or "", len(body))]]
    return Script(ending, status=reply.status, headers=headers, blocks=blocks, length=len(body))


def _stream_script(
    events: Sequence[bytes], how: Behaviour, headers: Mapping[str, str], ending: Ending
) -> Script:
    if ending is not Ending.FINISH:
        events = events[: 0 if how.fault == "stall_headers" else how.after]
    frames = [_FRAMES.get(how.fault, _plain)(event) for event in events]
    pause_s = how.chunk_ms / 1000
    if how.fault == "split":
        frames = [part for event in frames for part in _shreds(event)]
        pause_s = max(pause_s, _SPLIT_PAUSE_S)
    elif how.chunks_per_write > 1:
        size = how.chunks_per_write
        frames = [b"".join(frames[at : at + size]) for at in range(0, len(frames), size)]
    return Script(ending, headers=headers, blocks=frames, pause_s=pause_s)


def _plain(payload: bytes) -> bytes:
    return b"data: " + payload + b"\n\n"


def _no_space(payload: bytes) -> bytes:
    return b"data:" + payload + b"\n\n"


def _crlf(payload: bytes) -> bytes:
    return b"data: " + payload + b"\r\n\r\n"


def _commented(payload: bytes) -> bytes:
    return b": demo comment\n\n: and one inside the event\ndata: " + payload + b"\n\n"


_FRAMES: Final[Mapping[str | None, Callable[[bytes], bytes]]] = {
    "no_space": _no_space,
    "crlf": _crlf,
    "comments": _commented,
}


def _shreds(event: bytes) -> Iterator[bytes]:
    """Cut inside `data:`, inside every UTF-8 sequence, and between the two line ends."""
    inside = [at for at in range(1, len(event)) if _continues(event[at])]
    cuts = [0, 2, *inside, len(event) - 1, len(event)]
    for start, end in pairwise(cuts):
        yield event[start:end]


def _continues(byte: int) -> bool:
    """Whether a byte is the second or a later one of a UTF-8 sequence (RFC 3629)."""
    return byte & 0b1100_0000 == 0b1000_0000  # noqa: PLR2004


def _empty(reply: Reply, _how: Behaviour) -> Reply:
    return replace(reply, body=b"", events=None if reply.events is None else [])


def _html(_reply: Reply, _how: Behaviour) -> Reply:
    return Reply(200, _HTML, "text/html; charset=utf-8")


def _eof(reply: Reply, _how: Behaviour) -> Reply:
    if reply.events is None:
        return replace(reply, body=reply.body[: len(reply.body) // 2])
    return replace(reply, events=[event for event in reply.events if event != DONE])


def _malformed(reply: Reply, _how: Behaviour) -> Reply:
    return _with_broken_event(reply, 1)


def _malformed_late(reply: Reply, how: Behaviour) -> Reply:
    return _with_broken_event(reply, max(1, how.after))


def _with_broken_event(reply: Reply, number: int) -> Reply:
    if reply.events is None:
        return replace(reply, body=_BROKEN)
    events = list(reply.events)
    return replace(reply, events=[*events[: number - 1], _BROKEN, *events[number:]])


def _error_in_200(reply: Reply, how: Behaviour) -> Reply:
    return _with_error(reply, how, 0)


def _error_late(reply: Reply, how: Behaviour) -> Reply:
    return _with_error(reply, how, how.after)


def _with_error(reply: Reply, how: Behaviour, after: int) -> Reply:
    usual = error_for(how.status if how.fails else 500)
    error = usual.event() if how.error_body is None else how.error_body
    if reply.events is None:
        return replace(reply, status=200, body=error)
    return Reply(200, b"", SSE, [*reply.events[:after], error])


_CHANGES: Final[Mapping[str | None, Callable[[Reply, Behaviour], Reply]]] = {
    "empty": _empty,
    "html": _html,
    "eof": _eof,
    "malformed": _malformed,
    "malformed_late": _malformed_late,
    "error_in_200": _error_in_200,
    "error_late": _error_late,
}
