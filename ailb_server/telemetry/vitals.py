"""How this instance is doing, in numbers that need no parsing of metrics."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ailb_server.telemetry.process import CpuShare, open_files, resident_bytes

WINDOW_S = 60.0
# Enough for true percentiles: beyond it the oldest of the window are forgotten first.
MAX_LATENCIES = 4096
_RATE_S = 10
_OK = "ok"
_CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds of requests, from arrival to end; all 0 without any. `count` is how many told it."""

    count: int = 0
    mean_s: float = 0.0
    p50_s: float = 0.0
    p95_s: float = 0.0
    p99_s: float = 0.0


@dataclass(frozen=True, slots=True)
class VitalSigns:
    """One look at an instance.

    Counts are since `since` (seconds since 1970): requests = ok + failed + cancelled + those that
    run. `failed` are answered with an error, whosever fault it was; those refused before they
    reached a stage are among `requests` and `failed`. `calls` are gRPC calls of every kind. Bytes
    are those of messages, without headers. `recent` is of the last WINDOW_S, at most MAX_LATENCIES;
    `requests_per_second` of the last 10 s. `cpu_percent` is of one core.
    """

    since: float
    requests: int
    ok: int
    failed: int
    cancelled: int
    calls: int
    bytes_received: int
    bytes_sent: int
    active_requests: int
    active_streams: int
    active_calls: int
    requests_per_second: float
    recent: Latencies
    cpu_percent: float
    resident_bytes: int
    open_files: int
    loop_lag_s: float


@dataclass(slots=True)
class Traffic:
    """What passes the edge. Told by plain additions: it is on the way of every message."""

    calls: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0


@dataclass(slots=True)
class _Counts:
    since: float
    requests: int = 0
    ok: int = 0
    failed: int = 0
    cancelled: int = 0


@dataclass(slots=True)
class Vitals:
    """One instance's. All methods are of the loop's thread; `snapshot` takes about a millisecond.

    `clock` is monotonic, `wall` is the time of day, both in seconds. `loop_lag_s` is asked.
    """

    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    loop_lag_s: Callable[[], float] = lambda: 0.0
    traffic: Traffic = field(default_factory=Traffic)
    cpu: CpuShare = field(default_factory=CpuShare)
    active_requests: int = 0
    active_streams: int = 0
    _counts: _Counts = field(init=False)
    _base: Traffic = field(init=False, default_factory=Traffic)
    _recent: deque[tuple[float, float]] = field(
        init=False, default_factory=lambda: deque(maxlen=MAX_LATENCIES)
    )
    _seconds: list[int] = field(init=False, default_factory=lambda: [0] * (_RATE_S + 1))
    _newest: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._counts = _Counts(self.wall())

    def began(self, *, stream: bool) -> None:
        """A request enters."""
        self.active_requests += 1
        self.active_streams += stream
        self._arrived()

    def ended(self, outcome: str, seconds: float, *, stream: bool) -> None:
        """It is over. `outcome` is `ok`, `cancelled` or an error's reason."""
        self.active_requests -= 1
        self.active_streams -= stream
        counts = self._counts
        if outcome == _OK:
            counts.ok += 1
        elif outcome == _CANCELLED:
            counts.cancelled += 1
        else:
            counts.failed += 1
        self._recent.append((self.clock(), seconds))

    def refused(self) -> None:
        """A request that no stage has seen."""
        self._arrived()
        self._counts.failed += 1

    def reset(self) -> None:
        """Counts anew from now on; what runs and what was lately stays."""
        traffic = self.traffic
        self._base = Traffic(traffic.calls, 0, traffic.received, traffic.sent)
        self._counts = _Counts(self.wall(), requests=self.active_requests)

    def snapshot(self) -> VitalSigns:
        """As it stands now."""
        counts, traffic, base = self._counts, self.traffic, self._base
        return VitalSigns(
            since=counts.since,
            requests=counts.requests,
            ok=counts.ok,
            failed=counts.failed,
            cancelled=counts.cancelled,
            calls=traffic.calls - base.calls,
            bytes_received=traffic.received - base.received,
            bytes_sent=traffic.sent - base.sent,
            active_requests=self.active_requests,
            active_streams=self.active_streams,
            active_calls=traffic.active,
            requests_per_second=self._per_second(),
            recent=self._latencies(),
            cpu_percent=self.cpu.percent(),
            resident_bytes=resident_bytes(),
            open_files=open_files(),
            loop_lag_s=self.loop_lag_s(),
        )

    def _arrived(self) -> None:
        self._counts.requests += 1
        self._advance()
        self._seconds[self._newest % len(self._seconds)] += 1

    def _advance(self) -> None:
        second, size = int(self.clock()), len(self._seconds)
        for passed in range(max(self._newest, second - size) + 1, second + 1):
            self._seconds[passed % size] = 0
        self._newest = max(self._newest, second)

    def _per_second(self) -> float:
        """Of whole seconds: the one that runs would be told too low."""
        self._advance()
        size = len(self._seconds)
        return (sum(self._seconds) - self._seconds[self._newest % size]) / _RATE_S

    def _latencies(self) -> Latencies:
        oldest = self.clock() - WINDOW_S
        while self._recent and self._recent[0][0] < oldest:
            self._recent.popleft()
        seconds = sorted(took for _, took in self._recent)
        if not seconds:
            return Latencies()
        mean_s = sum(seconds) / len(seconds)
        return Latencies(len(seconds), mean_s, *(_rank(seconds, q) for q in (0.5, 0.95, 0.99)))


def _rank(ordered: Sequence[float], share: float) -> float:
    """The nearest rank: the least of them that `share` of all do not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
