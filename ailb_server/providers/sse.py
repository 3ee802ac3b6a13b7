"""Server-sent events: from network reads to whole events, and from events to their data.

Format: WHATWG HTML, "Server-sent events", 9.2.5-9.2.6.
"""

MAX_EVENT_BYTES = 16 * 1024 * 1024


class EventTooLargeError(ValueError):
    """An event grew past MAX_EVENT_BYTES."""


class EventCutter:
    """Cuts reads at the last blank line, so that every piece given out holds whole events only."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, read: bytes) -> bytes:
        """The whole events that `read` completes; empty if none."""
        data = self._rest + read if self._rest else read
        end = _last_blank_line(data)
        self._rest = data[end:]
        if len(self._rest) > MAX_EVENT_BYTES:
            raise EventTooLargeError
        return data[:end]

    def finish(self) -> bytes:
        """What is left when the stream ends, as one event; empty if nothing is."""
        rest, self._rest = self._rest.strip(), b""
        return rest + b"\n\n" if rest else b""


def _last_blank_line(data: bytes) -> int:
    """Where it ends. A line ends with LF, CR or both, and so does the next, which is empty."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    # The LF of a CR that ends the read is still to come, unless the stream's lines end with CR.
    found = max(data.rfind(b"\n\n"), data.rfind(b"\n\r", 0, -1), data.rfind(b"\r\r"))
    if found < 0:
        return 0
    end = found + 2
    return end + 1 if data[end - 1 : end + 1] == b"\r\n" else end


def split_events(block: bytes) -> list[bytes]:
    """The events of a block of whole events, each without its closing blank line."""
    if b"\r" in block:
        block = block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return [event for event in block.split(b"\n\n") if event]


def data_of(event: bytes) -> bytes | None:
    """The data of one event, or None if it has none (a comment, a bare `event:` line)."""
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = [_value(line) for line in event.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines) if lines else None


def _value(line: bytes) -> bytes:
    value = line.partition(b":")[2]
    return value.removeprefix(b" ")
