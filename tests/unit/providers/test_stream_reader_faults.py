"""What a stream's reader makes of events that are bad, or of other servers' habits."""

import orjson
import pytest

from ailb_server.providers.openai_wire import ErrorAnswerError, MalformedAnswerError, StreamReader

GOOD = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'


def reader() -> StreamReader:
    return StreamReader(include_usage=False)


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"object":"error","message":"boom","code":500}\n\n',
        b'data: {"error":{"code":1}}\n\n',
    ],
)
def test_an_error_object_is_no_answer(event: bytes) -> None:
    with pytest.raises(ErrorAnswerError):
        reader().read(event)


@pytest.mark.parametrize(
    "event",
    [
        b"data: {}\n\n",
        b'data: {"choices":"none"}\n\n',
        b'data: {"choices":["x",5]}\n\n',
        b'data: {"choices":[{"delta":"x"}]}\n\n',
    ],
)
def test_a_stream_begins_with_choices(event: bytes) -> None:
    with pytest.raises(MalformedAnswerError):
        reader().read(event)


@pytest.mark.parametrize(
    "bad",
    [b"data: {\n\n", b'data: {"error":{"code":1}}\n\n', b'data: {"choices":[5]}\n\n'],
)
def test_good_events_before_a_bad_one_are_delivered(bad: bytes) -> None:
    stream = reader()
    chunk = stream.read(GOOD + GOOD + bad + GOOD)
    assert chunk.wire == GOOD + GOOD
    assert len(chunk.events) == 2
    assert stream.fault is not None


@pytest.mark.parametrize("delta", ['{"content":1}', '{"tool_calls":[{}]}', '{"refusal":[]}'])
def test_what_is_translated_begins_with_the_formats_types(delta: str) -> None:
    event = b'data: {"choices":[{"delta":%b}]}\n\n' % delta.encode()
    assert reader().read(event).wire == event
    with pytest.raises(MalformedAnswerError):
        StreamReader(include_usage=True, translated=True).read(event)


@pytest.mark.parametrize(
    "data",
    [
        b'{"usage":null,"choices":[],"x":{"a":1,"usage":null}}',
        b'{"choices":[{"usage":null}],"usage" : null}',
        b'{"usage":null,"choices":[]}',
        b'{"choices":[],"usage":null,"z":1.50}',
        b'{"choices":[{"delta":{"content":",\\"usage\\":null"}}],"usage":null}',
    ],
)
def test_only_the_events_own_usage_null_is_hidden(data: bytes) -> None:
    chunk = reader().read(GOOD + b"data: " + data + b"\n\n")
    expected = orjson.loads(data)
    shown = orjson.loads(chunk.wire.removeprefix(GOOD).removeprefix(b"data: "))
    del expected["usage"]
    assert shown == expected
    assert (b"1.50" in chunk.wire) is (b"1.50" in data)
