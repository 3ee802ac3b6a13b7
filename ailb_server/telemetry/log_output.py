"""Log lines on their way out: by a thread, so that a slow reader never holds the event loop up."""

import logging
import queue
import threading
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from typing import TextIO

from typing_extensions import override

MAX_WAITING = 10_000
# Of one place in the code, within FLOOD_S: what repeats more often tells nothing new.
MAX_REPEATED = 50
FLOOD_S = 10.0
_MAX_PLACES = 512
_CLOSE_S = 2.0
_FORMATTER = logging.Formatter()


class LogOutput(logging.Handler):
    """Keeps at most MAX_WAITING lines for `stream`; what is beyond is lost, counted, and told
    with the next line that is written."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self._stream = stream
        self._waiting: queue.Queue[logging.LogRecord | None] = queue.Queue(MAX_WAITING)
        self._told = 0
        self.lost = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()

    @override
    def emit(self, record: logging.LogRecord) -> None:
        # As text: what it was made of may change, or be large.
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or _FORMATTER.formatException(record.exc_info)
            record.exc_info = None
        try:
            self._waiting.put_nowait(record)
        except queue.Full:
            self.lost += 1

    @override
    def flush(self) -> None:
        """Waits until what was told so far is written, for two seconds at most."""
        end = time.monotonic() + _CLOSE_S
        with self._waiting.all_tasks_done:
            while self._waiting.unfinished_tasks and (left := end - time.monotonic()) > 0:
                self._waiting.all_tasks_done.wait(left)

    @override
    def close(self) -> None:
        """Writes what waits, as `flush` does, and ends the thread."""
        self.flush()
        # If it is full its reader hangs: then the thread ends with the process.
        with suppress(queue.Full):
            self._waiting.put_nowait(None)
        super().close()

    def _write(self) -> None:
        while (record := self._waiting.get()) is not None:
            try:
                if self.lost != self._told:
                    self._tell_loss()
                self._stream.write(f"{self.format(record)}\n")
                if self._waiting.empty():
                    self._stream.flush()
            except Exception:  # noqa: BLE001
                # A line that cannot be written has nowhere to be told but in the count.
                self.lost += 1
            finally:
                self._waiting.task_done()

    def _tell_loss(self) -> None:
        lost, self._told = self.lost - self._told, self.lost
        text = f"{lost} log lines were lost: whoever reads them is too slow"
        record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, None, None)
        self._stream.write(f"{self.format(record)}\n")


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
