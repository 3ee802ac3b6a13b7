"""What tells that an answer is over."""

import pytest

from ailb_server.domain.chat import ChatChunk, is_last


@pytest.mark.parametrize("end", [b"data: [DONE]", b"event: message_stop"])
def test_what_ends_a_stream_begins_a_line(end: bytes) -> None:
    for before in (b"", b"data: {}\n\n", b"data: {}\r\n\r\n", b"data: {}\r\r"):
        assert is_last(ChatChunk((), before + end + b"\n\n"), stream=True)
    assert not is_last(ChatChunk((), b'data: {"content": "' + end + b'"}\n\n'), stream=True)
    assert not is_last(ChatChunk((), b'data: {"content": "\\n' + end + b'"}\n\n'), stream=True)


def test_a_whole_answer_is_over_whatever_it_says() -> None:
    assert is_last(ChatChunk((), b"{}"), stream=False)
