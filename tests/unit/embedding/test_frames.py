"""What one side packs, the other one reads, however the bytes are cut."""

import asyncio
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.embedding.frames import (
    MAX_PAYLOAD,
    Ask,
    Embedded,
    Frame,
    FrameError,
    Tell,
    packed,
    packed_state,
    packed_vector,
    read_frame,
    state_of,
    vector_of,
)


async def read_all(pieces: list[bytes]) -> list[Frame]:
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    frames = []
    while (frame := await read_frame(reader)) is not None:
        frames.append(frame)
    return frames


@given(
    texts=st.lists(st.text(max_size=50), max_size=6),
    cuts=st.lists(st.integers(min_value=0, max_value=400)),
)
async def test_frames_come_whole_and_in_order(texts: list[str], cuts: list[int]) -> None:
    frames = [
        Frame(number, Ask.QUERY, text.encode(errors="replace"))
        for number, text in enumerate(texts, 1)
    ]
    stream = b"".join(packed(f.id, f.kind, f.payload) for f in frames)
    ends = sorted({0, *(c for c in cuts if c < len(stream)), len(stream)})
    pieces = [stream[a:b] for a, b in pairwise(ends)]
    assert await read_all(pieces) == frames


async def test_a_frame_that_breaks_off_is_the_end() -> None:
    assert await read_all([packed(1, Ask.BULK, b"whole"), packed(2, Ask.BULK, b"half")[:-1]]) == [
        Frame(1, Ask.BULK, b"whole")
    ]


async def test_no_frame_makes_the_reader_keep_a_lot() -> None:
    with pytest.raises(FrameError):
        await read_all([packed(1, Ask.QUERY, b"x" * (MAX_PAYLOAD + 1))])


def test_a_vector_survives_exactly() -> None:
    numbers = np.array([0.1, -1.5e-30, 3.0, np.float32(1 / 3)], dtype=np.float32)
    frame = packed_vector(7, Embedded(numbers, 12))
    read = vector_of(frame[9:])
    assert (read.tokens, read.vector.dtype) == (12, np.dtype(np.float32))
    assert read.vector.tolist() == numbers.tolist()
    assert not read.vector.flags.writeable


def test_a_state_survives() -> None:
    assert state_of(packed_state(state="ready", dimension=3)[9:]) == {
        "state": "ready",
        "dimension": 3,
    }


@pytest.mark.parametrize("payload", [b"", b"\1\0\0\0", b"\1\0\0\0\0\0"])
def test_a_vector_of_no_length_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        vector_of(payload)


@pytest.mark.parametrize("payload", [b"", b"[]", b"{"])
def test_a_state_that_is_none_is_refused(payload: bytes) -> None:
    with pytest.raises(FrameError):
        state_of(payload)


def test_the_kinds_are_what_the_other_side_takes_them_for() -> None:
    assert list(Ask) == [0, 1, 2]
    assert list(Tell) == [0, 1, 2]
