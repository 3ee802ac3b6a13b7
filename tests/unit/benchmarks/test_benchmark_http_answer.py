"""How the load generator reads answers: none may pass as complete that is not."""

import pytest

from benchmarks.http_answer import Answer, AnswerError
from benchmarks.load import without_identity

_LENGTH = b'HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{"a": 12}'
_CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"6\r\ndata: \r\nd;x=y\r\n1\n\ndata: [2]\n\r\n0\r\n\r\n"
)
_TRAILERS = _CHUNKED[:-2] + b"grpc-status: 0\r\n\r\n"


@pytest.mark.parametrize(
    ("wire", "body"),
    [
        (_LENGTH, b'{"a": 12}'),
        (_CHUNKED, b"data: 1\n\ndata: [2]\n"),
        (_TRAILERS, b"data: 1\n\ndata: [2]\n"),
    ],
)
@pytest.mark.parametrize("step", [1, 2, 7, 1000])
def test_an_answer_is_the_same_however_it_is_cut(wire: bytes, body: bytes, step: int) -> None:
    answer = Answer()
    reads = [wire[start : start + step] for start in range(0, len(wire), step)]
    assert [answer.feed(read) for read in reads] == [False] * (len(reads) - 1) + [True]
    assert (answer.status, answer.body(), answer.begun) == (200, body, True)


def test_the_head_alone_is_no_first_byte() -> None:
    answer = Answer()
    answer.feed(_LENGTH.partition(b"{")[0])
    assert not answer.begun
    answer.feed(b"{")
    assert answer.begun


def test_an_empty_body_is_complete_with_its_head() -> None:
    assert Answer().feed(b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "wire",
    [
        b"HTTP/1.1 200 OK\r\n\r\n{}",
        b"HTTP/2 200\r\n\r\n",
        _LENGTH + b"x",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_has_no_certain_end_is_refused(wire: bytes) -> None:
    with pytest.raises(AnswerError):
        Answer().feed(wire)


def test_answers_are_compared_without_their_identity() -> None:
    one = b'{"id":"chatcmpl-1","created":1795269542,"content":"x","created_at":1}'
    other = b'{"id":"chatcmpl-2","created":1795269999,"content":"x","created_at":1}'
    assert without_identity(one) == without_identity(other)
    assert without_identity(one) != without_identity(one.replace(b'"x"', b'"y"'))
