"""Newline-delimited JSON: from network reads to whole lines."""

MAX_LINE_BYTES = 16 * 1024 * 1024


class LineTooLargeError(ValueError):
    """A line grew past MAX_LINE_BYTES."""


class LineCutter:
    """Cuts reads at line ends; blank lines are left out."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, read: bytes) -> list[bytes]:
        """The lines that `read` completes, without their ends."""
        whole, end, rest = (self._rest + read).rpartition(b"\n")
        self._rest = rest
        if len(rest) > MAX_LINE_BYTES:
            raise LineTooLargeError
        return _lines(whole) if end else []

    def finish(self) -> list[bytes]:
        """The last line, if it lacks its end."""
        rest, self._rest = self._rest, b""
        return _lines(rest)


def _lines(block: bytes) -> list[bytes]:
    # Not splitlines(): JSON allows a bare carriage return between its tokens.
    return [line for line in block.split(b"\n") if line and not line.isspace()]
