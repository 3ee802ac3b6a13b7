"""What a request's phases take: told to its record, and to its trace if there is one."""

import time
from collections.abc import Awaitable
from types import TracebackType
from typing import TypeVar

from ailb_server.pipeline.record import ChatRecord
from ailb_server.telemetry.tracing import Within

T = TypeVar("T")


class Phase:
    """Around a phase. `name` is of a closed set: it becomes a metric's label."""

    __slots__ = ("_name", "_record", "_started", "_within")

    def __init__(self, record: ChatRecord, name: str) -> None:
        self._record = record
        self._name = name
        self._within = Within(name)
        self._started = 0.0

    def __enter__(self) -> None:
        self._within.__enter__()
        self._started = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._record.phases[self._name] = time.perf_counter() - self._started
        self._within.__exit__(kind, error, trace)


async def phased(record: ChatRecord, name: str, work: Awaitable[T]) -> T:
    """Awaits a phase's work."""
    with Phase(record, name):
        return await work
