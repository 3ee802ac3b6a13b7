"""A block read at once says what it says read event by event."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from ailb_server.domain.chat import ChatChunk
from ailb_server.providers.openai_block import plain_block
from ailb_server.providers.openai_wire import StreamReader

_WORD = b'{"id":"c","choices":[{"index":0,"delta":{"content":"a"}}]}'
_NULL = b'{"id":"c","choices":[{"index":0,"delta":{"content":"a"}}],"usage":null}'
_TOLD = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}'
_PLAIN = (_WORD, _NULL, _TOLD, b'{"choices":[{}]}', b'{"choices":[]}')
# Each is read otherwise, is an error, or says `usage` somewhere else.
_ODD = (
    b'{"usage":null,"choices":[{"delta":{}}]}',
    b'{"choices":[{"delta":{}, "usage":null}],"usage":null}',
    b'{"choices":[{"delta":{"content":"usage"}}],"usage": null}',
    b'{"choices":[{"delta":{"content":",\\"usage\\":null"}}],"usage":null}',
    b'{"choices":[{"delta":{"content":"a"}}],"usage":{"prompt_tokens":1}}',
    b'{"choices":[],"usage":{}}',
    b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
    b'{"choices":[{"delta":{"content":"\\ude00"}}]}',
    b'{"choices":[5]}',
    b'{"choices":[{"delta":7}]}',
    b'{"choices":null}',
    b'{"id":"c"}',
    b'{"error":{"code":"busy"}}',
    b'{"object":"error","choices":[]}',
    b'{"choices":[{"delta":{}}',
    b'{"a":[{}',
    b'{}]},{"choices":[]}',
    b"5",
    b"[]",
)
_BLOCKS = st.lists(
    st.one_of(
        st.sampled_from([b"data: " + text + b"\n\n" for text in _PLAIN]),
        st.sampled_from([b"data: " + text + b"\n\n" for text in (*_PLAIN, *_ODD)]),
        st.sampled_from(
            [
                b": comment\n\n",
                b"data: [DONE]\n\n",
                b"event: x\ndata: " + _NULL + b"\n\n",
                b"data:" + _NULL + b"\n\n",
                b'data: {"choices":\ndata: []}\n\n',
                b"data: " + _WORD + b"\r\n\r\n",
            ]
        ),
    ),
    min_size=1,
    max_size=6,
)


def _said(reader: StreamReader, block: bytes) -> tuple[object, ...]:
    try:
        chunk = reader.read(block)
    except ValueError as error:
        return (type(error), str(error))
    return (
        list(chunk.events), chunk.wire, chunk.usage, reader.begun, reader.done, reader.alive,
        None if reader.fault is None else str(reader.fault),
    )  # fmt: skip


class _Slow(StreamReader):
    """Never reads a block at once."""

    @override
    def _plain(self, block: bytes) -> ChatChunk | None:
        return None


@given(events=_BLOCKS, more=_BLOCKS, include_usage=st.booleans(), translated=st.booleans())
def test_both_ways_say_the_same(
    events: list[bytes], more: list[bytes], *, include_usage: bool, translated: bool
) -> None:
    readers = [
        kind(include_usage=include_usage, translated=translated) for kind in (StreamReader, _Slow)
    ]
    for block in (b"".join(events), b"".join(more)):
        if not readers[0].done:
            at_once, one_by_one = (_said(reader, block) for reader in readers)
            assert at_once == one_by_one


@pytest.mark.parametrize("include_usage", [True, False])
def test_what_most_servers_write_is_read_at_once(*, include_usage: bool) -> None:
    block = b"".join(b"data: " + text + b"\n\n" for text in (_NULL, _NULL, _TOLD, b"[DONE]"))
    plain = plain_block(block, include_usage=include_usage)
    assert plain is not None
    assert (len(plain.chunks), plain.done) == (3, True)
    assert plain.usage is not None
    assert plain.usage.completion == 4
    shown = b"data: " + _WORD + b"\n\n"
    assert plain.wire == (block if include_usage else shown * 2 + b"data: [DONE]\n\n")
