"""What the load generator is asked and what it answers: one JSON line each."""

import re
from dataclasses import dataclass, field

from benchmarks.figures import Latency

# What two answers to one request may differ in: when and for which bytes they were made.
_IDENTITY = re.compile(rb'"(?:created":\d+|id":"[^"]*")')


@dataclass(frozen=True, slots=True)
class Order:
    """One measurement of POST /v1/chat/completions on a loopback port.

    `concurrency` connections each send the next request when the last is answered; with a `rate`,
    in requests a second, they are as many as there may be, and requests are sent at random moments,
    whatever became of those before. Ends after `window_s` or `max_requests`, whichever comes first;
    requests in flight may then take `tail_s`. `expected` is the answer's body without identity,
    None if it may be any. `bodies` are sent in turn instead of `body`. If `paced`, the gaps between
    reads are wanted, and connections begin spread over `warm_s`. `pids` are processes whose CPU
    time over the window is wanted, by name.
    """

    port: int
    body: str
    expected: str | None
    stream: bool
    concurrency: int
    warm_s: float
    window_s: float
    max_requests: int
    pids: dict[str, int]
    key: str = "sk-benchmark"
    bodies: list[str] = field(default_factory=list)
    rate: float = 0.0
    paced: bool = False
    tail_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done` requests ended within `window_s`. `errors` are counted by kind, warm-up included.

    `chunks`: events of streams that came within the window, the closing one of each included.
    `gap`: of reads within one answer, if that was asked for.
    """

    done: int
    window_s: float
    errors: dict[str, int]
    latency: Latency | None
    first_byte: Latency | None
    cpu_s: dict[str, float]
    chunks: int = 0
    gap: Latency | None = None


def without_identity(body: bytes) -> bytes:
    """A completion or an event stream without its ids and times, for comparison."""
    return _IDENTITY.sub(b"", body)


def http_request(port: int, body: bytes, key: str) -> bytes:
    """The request's bytes, as an SDK would send them."""
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        "user-agent: ailb-benchmark\r\naccept: application/json\r\n"
        f"authorization: Bearer {key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
