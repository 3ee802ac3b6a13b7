"""What is asked: the kinds of requests that are measured."""

import base64
import json
from dataclasses import dataclass

STREAM_CHUNKS = 50
PACED_CHUNKS = 200
COLLECTION = "benchmark"
# Sessions of `memory`: so many that none grows long while it is measured.
SESSIONS = 256
QUESTIONS = 64

_QUESTION = "Tell me in one short sentence what a load balancer is for."
_LARGE_PROMPT_BYTES = 32 * 1024
_IMAGE_BYTES = 1024 * 1024
_PACE_MS = 5.0
# 256 streams of 5 ms were 51,200 chunks a second: as many as upstream and generator can handle in
# bursts, and four times what even the floor relays on a core.
_WIDE_PACE_MS = 40.0
_ALL = (1, 16, 64)


@dataclass(frozen=True, slots=True)
class Workload:
    """One kind of request.

    `pace_ms` lies between the chunks of a stream, `chunks` is how many it has. `context`: AILB puts
    something into the request, which no other target does. `open_loop`: measured at half of the
    highest rate too. `bodies` are sent in turn instead of `body`.
    """

    name: str
    title: str
    body: str
    stream: bool = False
    concurrencies: tuple[int, ...] = _ALL
    chunks: int = 0
    pace_ms: float = 0.0
    context: bool = False
    open_loop: bool = False
    bodies: tuple[str, ...] = ()

    @property
    def lasts_s(self) -> float:
        """The least that one answer takes."""
        return self.chunks * self.pace_ms / 1000


def workloads() -> dict[str, Workload]:
    """Every workload by its name."""
    # Paced ones take long: if the time is over, the last are left out.
    known = (*_plain(), _burst(), *_context(), *_paced_streams())
    return {workload.name: workload for workload in known}


def _plain() -> tuple[Workload, ...]:
    return (
        Workload(
            "small",
            "one short question, one answer of about 650 bytes",
            _chat(_QUESTION),
            open_loop=True,
        ),
        Workload(
            "large",
            "a prompt of 32 KB, a short answer",
            _chat("lorem ipsum " * (_LARGE_PROMPT_BYTES // 12), demo={"words": 20}),
        ),
        Workload("image", "an image of 1 MB in the prompt", _image(), concurrencies=(1, 16)),
    )


def _burst() -> Workload:
    return Workload(
        "stream",
        f"{STREAM_CHUNKS} chunks without pause, each written by itself",
        _stream(STREAM_CHUNKS),
        stream=True,
        chunks=STREAM_CHUNKS,
    )


def _paced_streams() -> tuple[Workload, ...]:
    return _paced("paced", 64, _PACE_MS), _paced("paced256", 256, _WIDE_PACE_MS)


def _paced(name: str, concurrency: int, pace_ms: float) -> Workload:
    return Workload(
        name,
        f"{concurrency} streams of {PACED_CHUNKS} chunks, {pace_ms:g} ms apart",
        _stream(PACED_CHUNKS, chunk_ms=pace_ms),
        stream=True,
        concurrencies=(concurrency,),
        chunks=PACED_CHUNKS,
        pace_ms=pace_ms,
    )


def _context() -> tuple[Workload, ...]:
    sessions = (
        _chat(f"This is question {n}: what is a gateway for?", session_id=f"benchmark-{n}")
        for n in range(SESSIONS)
    )
    questions = (
        _chat(f"Which tenant keeps the budget of route {n}?", rag_collection=COLLECTION)
        for n in range(QUESTIONS)
    )
    return (
        _with_context("memory", "a small chat of a session, recalled and stored", tuple(sessions)),
        _with_context("rag", "a small chat with passages, found by words", tuple(questions)),
    )


def _with_context(name: str, title: str, bodies: tuple[str, ...]) -> Workload:
    return Workload(name, title, bodies[0], concurrencies=(1, 16), context=True, bodies=bodies)


def _stream(chunks: int, **demo: float) -> str:
    # The role, the words and the finish are the chunks.
    return _chat(_QUESTION, stream=True, demo={"words": chunks - 2, **demo})


def _image() -> str:
    pixels = base64.b64encode(bytes(range(256)) * (_IMAGE_BYTES * 3 // 4 // 256)).decode()
    return _chat(
        [
            {"type": "text", "text": "What is in this image?"},
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixels}"}},
        ],
        demo={"words": 20},
    )


def _chat(content: object, **fields: object) -> str:
    messages = [{"role": "user", "content": content}]
    return json.dumps({"model": "demo", "messages": messages, **fields}, separators=(",", ":"))
