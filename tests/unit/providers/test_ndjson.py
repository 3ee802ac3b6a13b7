"""Lines, however the network cuts them."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ailb_server.providers import ndjson
from ailb_server.providers.ndjson import LineCutter, LineTooLargeError


@given(st.binary(max_size=60), st.lists(st.integers(0, 60), max_size=6))
def test_every_cut_gives_the_same_lines(text: bytes, places: list[int]) -> None:
    cuts = [0, *sorted(min(place, len(text)) for place in places), len(text)]
    cutter = LineCutter()
    lines = [line for a, b in pairwise(cuts) for line in cutter.feed(text[a:b])] + cutter.finish()
    assert lines == [line for line in text.split(b"\n") if line.strip()]


def test_a_line_may_end_with_both() -> None:
    assert LineCutter().feed(b"{}\r\n\r\n{}\r\n") == [b"{}\r", b"{}\r"]


def test_a_line_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ndjson, "MAX_LINE_BYTES", 4)
    with pytest.raises(LineTooLargeError):
        LineCutter().feed(b"12345")
