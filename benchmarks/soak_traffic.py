"""The mixed load of a soak: what a caller may do, good and bad."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import aiohttp

_TIMEOUT_S = 30.0
# At once: beyond it requests are left out, and counted.
_MOST = 64
# Their turns are many, their number is not: what is kept for a session must not grow.
_SESSIONS = 200
_READ_BEFORE_LEAVING = 2
_OK, _BAD_REQUEST, _NOT_FOUND = 200, 400, 404


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: how often, what it sends, which status is right."""

    name: str
    share: int
    fields: dict[str, object]
    status: int = _OK
    leaves: bool = False


KINDS = (
    Kind("small", 40, {}),
    Kind("stream", 20, {"stream": True, "demo": {"words": 48}}),
    Kind("slow stream", 5, {"stream": True, "demo": {"words": 48, "chunk_ms": 20}}),
    Kind(
        "left in the middle",
        10,
        {"stream": True, "demo": {"words": 198, "chunk_ms": 10}},
        leaves=True,
    ),
    Kind("memory", 15, {"session_id": ""}),
    Kind("refused by the provider", 4, {"demo": {"status": _BAD_REQUEST}}, _BAD_REQUEST),
    Kind("no such model", 3, {"model": "missing"}, _NOT_FOUND),
    Kind("no messages", 3, {"messages": []}, _BAD_REQUEST),
)


@dataclass
class Counts:
    """Requests by kind: answered as expected, and not, with what came instead."""

    done: Counter[str] = field(default_factory=Counter)
    unexpected: Counter[str] = field(default_factory=Counter)


class Traffic:
    """Sends `rate` requests a second, of all kinds, until `running` says no."""

    def __init__(self, port: int, keys: tuple[str, ...], rate: float) -> None:
        self.counts = Counts()
        self._url = f"http://127.0.0.1:{port}/v1/chat/completions"
        self._keys = itertools.cycle(keys)
        self._rate = rate
        self._numbers = itertools.count()
        self._chance = random.Random(1)  # noqa: S311

    async def run(self, running: Callable[[], bool]) -> None:
        """Returns when what was sent is answered."""
        timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=_MOST)
        flying: set[asyncio.Task[None]] = set()
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            for kind in self._kinds(running):
                if len(flying) < _MOST:
                    task = asyncio.create_task(self._ask(session, kind))
                    flying.add(task)
                    task.add_done_callback(flying.discard)
                else:
                    self.counts.unexpected["not sent: all connections are busy"] += 1
                await asyncio.sleep(self._chance.expovariate(self._rate))
            if flying:
                await asyncio.wait(flying)

    def _kinds(self, running: Callable[[], bool]) -> Iterator[Kind]:
        shares = [kind.share for kind in KINDS]
        while running():
            yield self._chance.choices(KINDS, shares)[0]

    async def _ask(self, session: aiohttp.ClientSession, kind: Kind) -> None:
        headers = {"authorization": f"Bearer {next(self._keys)}"}
        try:
            async with session.post(self._url, json=self._body(kind), headers=headers) as answer:
                told = await _read(answer, leaves=kind.leaves)
        except (aiohttp.ClientError, TimeoutError) as error:
            self.counts.unexpected[f"{kind.name}: {type(error).__name__}"] += 1
            return
        if answer.status != kind.status:
            self.counts.unexpected[f"{kind.name}: status {answer.status}"] += 1
        elif kind.fields.get("stream") and not kind.leaves and b"[DONE]" not in told:
            self.counts.unexpected[f"{kind.name}: no end"] += 1
        else:
            self.counts.done[kind.name] += 1

    def _body(self, kind: Kind) -> dict[str, object]:
        number = next(self._numbers)
        question = f"What is the answer to question {number}?"
        body = {"model": "demo", "messages": [{"role": "user", "content": question}], **kind.fields}
        if "session_id" in body:
            body["session_id"] = f"soak-{number % _SESSIONS}"
        return body


async def _read(answer: aiohttp.ClientResponse, *, leaves: bool) -> bytes:
    """The body, or its beginning, after which the connection is closed."""
    if not leaves:
        return await answer.read()
    told = b""
    for _ in range(_READ_BEFORE_LEAVING):
        told += await answer.content.readany()
    answer.close()
    return told
