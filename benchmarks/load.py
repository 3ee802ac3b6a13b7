"""What the load generator is asked and what it answers: one JSON line each."""

import re
from dataclasses import dataclass

from benchmarks.figures import Latency

# What two answers to one request may differ in: when and for which bytes they were made.
_IDENTITY = re.compile(rb'"(?:created":\d+|id":"[^"]*")')


@dataclass(frozen=True, slots=True)
class Order:
    """One closed-loop measurement of POST /v1/chat/completions on a loopback port.

    `concurrency` connections each send the next request when the last is answered. Ends after
    `window_s` or `max_requests`, whichever comes first. `expected` is the answer's body without
    identity; `pids` are processes whose CPU time over the window is wanted, by name.
    """

    port: int
    body: str
    expected: str
    stream: bool
    concurrency: int
    warm_s: float
    window_s: float
    max_requests: int
    pids: dict[str, int]


@dataclass(frozen=True, slots=True)
class Outcome:
    """`done` requests ended within `window_s`. `errors` are counted by kind, warm-up included."""

    done: int
    window_s: float
    errors: dict[str, int]
    latency: Latency | None
    first_byte: Latency | None
    cpu_s: dict[str, float]


def without_identity(body: bytes) -> bytes:
    """A completion or an event stream without its ids and times, for comparison."""
    return _IDENTITY.sub(b"", body)


def http_request(port: int, body: bytes) -> bytes:
    """The request's bytes, as an SDK would send them."""
    return (
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n"
        "user-agent: ailb-benchmark\r\naccept: application/json\r\n"
        "authorization: Bearer sk-benchmark\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    ).encode() + body
