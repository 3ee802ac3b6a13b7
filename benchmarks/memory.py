"""`python -m benchmarks.memory`: what a recall and an append take, beside a bare round trip.

Starts a Postgres of its own in a temporary directory, prints a table. See benchmarks/README.md.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import uvloop

from ailb_server.domain.memory_queries import Likeness, Window
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.memory.alignment import unknown
from ailb_server.memory.request_turns import exchange_turns
from ailb_server.storage.memory_append import PostgresMemoryAppend
from ailb_server.storage.memory_recall import PostgresMemoryRecall
from ailb_server.storage.pool import Store
from benchmarks.figures import percentile
from benchmarks.machine import cpu_model
from benchmarks.memory_setup import (
    DIMENSION,
    SESSIONS,
    SPACE,
    exchange,
    fill,
    recalling,
    request,
    vectors,
)

BARE = "bare round trip"
COMMIT = "insert of one number"
# What the issue and the facts of the project aim at: multiples of the bare round trip.
AIMS: Mapping[str, float] = {
    "last turns, 200": 2.5,
    "recall 200, vector given": 10,
    "recall 5000, vector given": 20,
    "append 2 turns": 8,
}

_ROUNDS = 400
_WARM_UP = 30

# One call of what is measured.
Call: TypeAlias = Callable[[], Awaitable[object]]


def main(arguments: Sequence[str] | None = None) -> int:
    """0, whether the aims are met or not: a busy machine is no fault of the code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--rounds", type=int, default=_ROUNDS, help="calls of each row")
    chosen = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="ailb-bench-") as directory,
        EmbeddedPostgres(Path(directory)) as dsn,
    ):
        figures = uvloop.run(measure(dsn, chosen.rounds))
    print(text(figures, chosen.rounds))
    return 0


async def measure(dsn: str, rounds: int) -> Mapping[str, list[float]]:
    """Milliseconds of each call, by row. Rows take turns, so that a disturbance hits all alike."""
    store = Store(dsn, size=4, statement_timeout_s=300)
    await fill(dsn, store)
    calls = _calls(store)
    found: dict[str, list[float]] = {name: [] for name in calls}
    for round_ in range(rounds + _WARM_UP):
        for name, call in calls.items():
            began = time.perf_counter()
            await call()
            if round_ >= _WARM_UP:
                found[name].append((time.perf_counter() - began) * 1000)
    await store.close()
    return found


def text(figures: Mapping[str, Sequence[float]], rounds: int) -> str:
    """The table, for people."""
    bare = statistics.median(figures[BARE])
    lines = [
        f"Memory: {rounds} calls of each row, in turn. {os.cpu_count()} CPUs ({cpu_model()}),"
        f" Python {platform.python_version()}, {DIMENSION} dimensions",
        "",
        f"{'':<28}{'p50 ms':>9}{'p99 ms':>9}{'x bare':>9}{'aim':>9}",
    ]
    for name, samples in figures.items():
        median = statistics.median(samples)
        high = percentile(sorted(samples), 0.99)
        aim = f"<= {AIMS[name]:g}" if name in AIMS else ""
        lines.append(f"{name:<28}{median:>9.3f}{high:>9.3f}{median / bare:>9.1f}{aim:>9}")
    missed = [n for n, aim in AIMS.items() if statistics.median(figures[n]) > aim * bare]
    return "\n".join([*lines, "", f"Missed: {', '.join(missed)}" if missed else "All aims met."])


def _calls(store: Store) -> Mapping[str, Call]:
    drawn = vectors()
    reads, appends = PostgresMemoryRecall(store), PostgresMemoryAppend(store)
    whole = recalling(store)

    async def bare() -> None:
        async with store.connection() as connection:
            await connection.fetchval("SELECT $1::int", 1)

    async def committed() -> None:
        async with store.connection() as connection:
            await connection.execute("INSERT INTO bench_rows VALUES ($1)", 1)

    def last(turns: int) -> Call:
        return lambda: reads.recall(_window(turns))

    def similar(turns: int) -> Call:
        return lambda: reads.recall(_window(turns), Likeness(SPACE, next(drawn), 0.1, 37, 1001))

    def recall(turns: int) -> Call:
        return lambda: whole(f"s{turns}", request("What did we say about this?"))

    calls: dict[str, Call] = {BARE: bare}
    calls.update({f"last turns, {turns}": last(turns) for turns in SESSIONS})
    calls.update({f"recall {turns}, vector given": similar(turns) for turns in SESSIONS})
    calls.update({f"recall {turns}, all of it": recall(turns) for turns in SESSIONS})
    # What any commit costs here: the disk's part of an append.
    calls[COMMIT] = committed
    calls["append 2 turns"] = lambda: appends.append(exchange_turns(exchange()), unknown)
    return calls


def _window(turns: int) -> Window:
    return Window(1, f"s{turns}", 20, 4001)


if __name__ == "__main__":
    raise SystemExit(main())
