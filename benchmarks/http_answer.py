"""Reads one HTTP/1.1 answer (RFC 9112) from a connection, as cheaply as Python can."""

import re

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)")
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_END = b"\r\n\r\n"


class AnswerError(Exception):
    """The bytes are no answer that we can tell the end of."""


class Answer:
    """Fed with reads until it is complete. `begun`: a byte of the body has arrived."""

    __slots__ = ("_headed", "_length", "_pieces", "_rest", "begun", "complete", "status")

    def __init__(self) -> None:
        self.status = 0
        self.begun = False
        self.complete = False
        self._headed = False
        self._length = -1
        self._rest = b""
        self._pieces: list[bytes] = []

    def feed(self, read: bytes) -> bool:
        """Whether the answer is complete now. Raises AnswerError."""
        self._rest = self._rest + read if self._rest else read
        try:
            if self._headed or self._read_head():
                self._read_body()
        except ValueError as error:
            raise AnswerError("an answer with broken framing") from error
        if self.complete and self._rest:
            raise AnswerError("bytes after the answer")
        return self.complete

    def body(self) -> bytes:
        """What has arrived of it, without the framing."""
        return b"".join(self._pieces)

    def _read_head(self) -> bool:
        end = self._rest.find(_END)
        if end < 0:
            return False
        head = self._rest[:end].lower()
        self._rest = self._rest[end + len(_END) :]
        if not head.startswith(b"http/1.1 "):
            raise ValueError("not HTTP/1.1")
        self.status = int(head[9:12])
        length = _LENGTH.search(head)
        if length is not None:
            self._length = int(length[1])
        elif _CHUNKED not in head:
            raise ValueError("an answer that ends with the connection")
        self._headed = True
        return True

    def _read_body(self) -> None:
        if self._length < 0:
            self._read_chunks()
        else:
            self._read_length()

    def _read_length(self) -> None:
        if not self._rest and self._length:
            return
        self.begun = True
        if len(self._rest) >= self._length:
            self._pieces.append(self._rest[: self._length])
            self._rest = self._rest[self._length :]
            self.complete = True

    def _read_chunks(self) -> None:
        data, position = self._rest, 0
        while (line_end := data.find(b"\r\n", position)) >= 0:
            size = int(data[position:line_end].partition(b";")[0], 16)
            start = line_end + 2
            if size == 0:
                # With or without trailers, a blank line ends it.
                end = data.find(_END, line_end)
                self.complete = end >= 0
                position = end + len(_END) if self.complete else position
                break
            if len(data) < start + size + 2:
                break
            self.begun = True
            self._pieces.append(data[start : start + size])
            position = start + size + 2
        self._rest = data[position:]
