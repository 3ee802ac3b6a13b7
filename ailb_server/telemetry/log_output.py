"""Log lines on their way out: by a thread, so that a slow reader never holds the event loop up."""

import logging
import threading
import time
from collections import OrderedDict, deque
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from typing_extensions import override

MAX_WAITING = 10_000
GATHER_S = 0.05
_BATCH = 200
# Of one place in the code, within FLOOD_S: what repeats more often tells nothing new.
MAX_REPEATED = 50
FLOOD_S = 10.0
_MAX_PLACES = 512
_CLOSE_S = 2.0
_FORMATTER = logging.Formatter()


class LogOutput(logging.Handler):
    """Keeps at most MAX_WAITING lines for `stream`; what is beyond is lost, counted, and told
    with the next line that is written.

    The thread wakes at most every GATHER_S and then writes all that waits: woken for each line, it
    would take the interpreter from the event loop as often.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: deque[logging.LogRecord] = deque()
        self._some = threading.Event()
        self._written = threading.Condition()
        self._ending = False
        self._busy = False
        self._told = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._write_for_ever, name="log", daemon=True)
        self._thread.start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # As text: what it was made of may change, or be large.
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or _FORMATTER.formatException(record.exc_info)
            record.exc_info = None
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
            return
        self._waiting.append(record)
        if not self._some.is_set():
            self._some.set()

    @override
    def flush(self) -> None:
        """Waits until what was told so far is written, for two seconds at most."""
        end = time.monotonic() + _CLOSE_S
        with self._written:
            while (self._waiting or self._busy) and (left := end - time.monotonic()) > 0:
                self._written.wait(left)

    @override
    def close(self) -> None:
        """Writes what waits, as `flush` does, and ends the thread."""
        self.flush()
        self._ending = True
        self._some.set()
        super().close()

    def _write_for_ever(self) -> None:
        while not self._ending:
            self._some.wait()
            self._some.clear()
            self._busy = True
            while self._waiting:
                self._write(
                    [self._waiting.popleft() for _ in range(min(len(self._waiting), _BATCH))]
                )
            with suppress(OSError, ValueError):
                self._stream.flush()
            with self._written:
                self._busy = False
                self._written.notify_all()
            time.sleep(GATHER_S)

    def _write(self, records: list[logging.LogRecord]) -> None:
        """At once: a stream for people is written through to the system with each line's end."""
        if self.lost != self._told:
            records.insert(0, self._loss())
        lines = [line for record in records if (line := self._line(record))]
        try:
            self._stream.write("".join(lines))
        except Exception:  # noqa: BLE001
            # Lines that cannot be written have nowhere to be told but in the count.
            self.lost += len(lines)

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return f"{self.format(record)}\n"
        except Exception:  # noqa: BLE001
            self.lost += 1
            return ""

    def _loss(self) -> logging.LogRecord:
        lost, self._told = self.lost - self._told, self.lost
        text = f"{lost} log lines were lost: whoever reads them is too slow"
        return logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)


@dataclass(slots=True)
class _Place:
    since: float
    lines: int = 0
    kept_back: int = 0


class FloodGate(logging.Filter):
    """Lets MAX_REPEATED lines of one place in the code pass every FLOOD_S; the next one that passes
    tells how many did not. Loggers named in `exempt` are free."""

    def __init__(self, exempt: frozenset[str]) -> None:
        super().__init__()
        self._exempt = exempt
        self._places: OrderedDict[tuple[str, int], _Place] = OrderedDict()
        self.repeated = 0

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in self._exempt or record.levelno <= logging.DEBUG:
            return True
        place = self._place((record.pathname, record.lineno), record.created)
        place.lines += 1
        if place.lines > MAX_REPEATED:
            self.repeated += 1
            return False
        if place.kept_back:
            text = f"{record.getMessage()} (and {place.kept_back} more like this)"
            record.msg, record.args, place.kept_back = text, None, 0
        return True

    def _place(self, key: tuple[str, int], now: float) -> _Place:
        place = self._places.get(key)
        if place is None:
            if len(self._places) >= _MAX_PLACES:
                self._places.popitem(last=False)
            place = self._places[key] = _Place(now)
        elif now - place.since >= FLOOD_S:
            place.kept_back = max(0, place.lines - MAX_REPEATED)
            place.since, place.lines = now, 0
        return place
