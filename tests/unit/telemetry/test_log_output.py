"""Lines leave without holding anybody up, and floods are kept out."""

import io
import logging
import threading
import time
from collections.abc import Iterator

import pytest
from typing_extensions import override

from ailb_server.telemetry.log_output import (
    FLOOD_S,
    MAX_REPEATED,
    MAX_WAITING,
    FloodGate,
    LogOutput,
)


class _Blocked(io.StringIO):
    """A reader who does not read until `opened` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = threading.Event()
        self.reached = threading.Event()

    @override
    def write(self, text: str) -> int:
        self.reached.set()
        self.opened.wait(30)
        return super().write(text)


@pytest.fixture
def stream() -> Iterator[_Blocked]:
    blocked = _Blocked()
    yield blocked
    blocked.opened.set()


def _record(text: str, line: int = 1, at: float | None = None) -> logging.LogRecord:
    record = logging.LogRecord("ailb_server.x", logging.WARNING, "x.py", line, text, None, None)
    if at is not None:
        record.created = at
    return record


def test_who_logs_never_waits_for_who_reads(stream: _Blocked) -> None:
    output = LogOutput(stream)
    output.emit(_record("first"))
    assert stream.reached.wait(10)
    began = time.thread_time()
    for number in range(MAX_WAITING + 100):
        output.emit(_record(f"line {number}"))
    # Processor time: it waited for nobody, and 10,000 lines are no second's work.
    assert time.thread_time() - began < 1
    assert output.lost == 100
    stream.opened.set()
    output.flush()
    lines = stream.getvalue().splitlines()
    assert "100 log lines were lost" in "\n".join(lines)
    assert len(lines) == MAX_WAITING + 2
    output.close()


def test_an_end_does_not_wait_for_who_never_reads(
    stream: _Blocked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ailb_server.telemetry.log_output._CLOSE_S", 0.05)
    output = LogOutput(stream)
    output.emit(_record("stuck"))
    output.close()


def test_a_line_is_as_it_was_when_it_was_told() -> None:
    stream = io.StringIO()
    output = LogOutput(stream)
    told = ["a"]
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "%s", (told,), None)
    output.emit(record)
    told.append("b")
    output.close()
    assert stream.getvalue() == "['a']\n"


def test_what_repeats_is_told_so_often_and_no_more() -> None:
    gate = FloodGate(frozenset({"free"}))
    passed = [gate.filter(_record("again", at=1000.0)) for _ in range(MAX_REPEATED + 30)]
    assert sum(passed) == MAX_REPEATED
    assert gate.repeated == 30
    assert gate.filter(_record("elsewhere", line=2, at=1000.0))
    later = _record("again", at=1000.0 + FLOOD_S)
    assert gate.filter(later)
    assert later.getMessage() == "again (and 30 more like this)"


def test_some_lines_are_all_told() -> None:
    gate = FloodGate(frozenset({"ailb_server.x"}))
    assert all(gate.filter(_record("again", at=1.0)) for _ in range(MAX_REPEATED + 5))


def test_the_places_that_are_known_are_bounded() -> None:
    gate = FloodGate(frozenset())
    assert all(gate.filter(_record("x", line=line, at=1.0)) for line in range(2000))
