"""Imports that run while chats are measured: what they send, and how far they are."""

import random
import time
from collections.abc import Callable
from typing import Any

from benchmarks.machine import Process, cpu_seconds
from benchmarks.programs import RunError
from benchmarks.rest import call

# Longer than any window lasts, at some hundred passages a second.
_DOCUMENTS = 600
_PARAGRAPHS = 8
_WORDS = (
    *("gateway", "answer", "budget", "tenant", "route", "vector", "passage", "limit", "session"),
    *("reads", "writes", "keeps", "sends", "finds", "the", "of", "with", "in", "every", "no"),
)
_REST_CPU = 0.05
_REST_S = 0.5
_PATIENCE_S = 60.0


class Importer:
    """A client of one AILB's REST face."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._rng = random.Random(1)  # noqa: S311

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's JSON. Raises RunError if it is no 200."""
        return call(self._port, method, path, body)

    def fill(self, name: str, documents: int) -> None:
        """A collection, imported to its end."""
        job = self.start(name, documents)
        until(lambda: bool(self.state(job).get("finished_at")), "the import ends")

    def start(self, name: str, documents: int = _DOCUMENTS) -> str:
        """Makes a collection; returns the id of an import into it, which has begun to store."""
        self.call("POST", "/v1/collections", {"name": name})
        given = [{"id": f"{n}.md", "text": self._text()} for n in range(documents)]
        told = self.call("POST", f"/v1/collections/{name}/documents", {"documents": given})
        job = str(told["job"]["id"])
        until(lambda: self.imported(job) > 0, "the import begins")
        return job

    def state(self, job: str) -> dict[str, Any]:
        """The import as it is now."""
        told: dict[str, Any] = self.call("GET", f"/v1/imports/{job}")["job"]
        return told

    def imported(self, job: str) -> int:
        """So many of its documents are stored."""
        return int(self.state(job).get("imported", 0))

    def end(self, name: str) -> None:
        """Deletes the collection, and so what waits to be imported into it."""
        self.call("DELETE", f"/v1/collections/{name}")

    def _text(self) -> str:
        paragraphs = (" ".join(self._rng.choices(_WORDS, k=60)) for _ in range(_PARAGRAPHS))
        return "\n\n".join(f"{paragraph.capitalize()}." for paragraph in paragraphs)


def until(condition: Callable[[], bool], what: str) -> None:
    """Polls. Raises RunError if it takes too long."""
    ends = time.monotonic() + _PATIENCE_S
    while not condition():
        if time.monotonic() > ends:
            raise RunError(f"timed out waiting until {what}")
        time.sleep(0.05)


def at_rest(family: Callable[[], set[Process]]) -> bool:
    """Whether these processes together use hardly any CPU for half a second."""
    before = _cpu_s(family())
    time.sleep(_REST_S)
    after = _cpu_s(family())
    used = sum(after[pid] - before.get(pid, 0.0) for pid in after)
    return used < _REST_CPU * _REST_S


def _cpu_s(processes: set[Process]) -> dict[int, float]:
    found = {}
    for process in processes:
        try:
            found[process.pid] = cpu_seconds(process.pid)
        except ProcessLookupError:
            continue
    return found
