"""`python -m benchmarks.limits`: limits and budgets on instances that are processes; their cost.

Starts an embedded Postgres and N instances; kills one of them and Postgres with SIGKILL in the
middle. Exit status 1 if a limit was passed, a request was refused that fitted, or a change was in
force too late.
"""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ailb_server.access.administration import KeyAdministration
from ailb_server.access.limit_administration import LimitAdministration
from ailb_server.access.secret import Digester
from ailb_server.domain.api_key import KeyTerms, NewKey
from ailb_server.domain.audit import Actor
from ailb_server.domain.principal import ANYONE
from ailb_server.domain.rate_limit import RateLimit
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.api_keys import PostgresApiKeys
from ailb_server.storage.audit import PostgresAuditLog
from ailb_server.storage.migrations import migrate
from ailb_server.storage.pool import Store
from ailb_server.storage.rate_limits import PostgresRateLimits
from benchmarks.limits_instance import EVERYTHING, PEPPER, Instance

_REPOSITORY = Path(__file__).resolve().parents[1]
_LEAST = 0.97
_FITTING = 100
_LEASE_S = 16.0
BY = Actor("benchmark")


class Process:
    """An instance in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def do(self, *line: object) -> dict[str, float]:
        """What it answers."""
        if self.process.stdin is None or self.process.stdout is None:
            raise RuntimeError("no pipes")
        if line:
            self.process.stdin.write(json.dumps(line).encode() + b"\n")
        told: dict[str, float] = json.loads(await self.process.stdout.readline())
        return told

    async def kill(self) -> None:
        """As it says."""
        self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def processes(dsn: str, count: int) -> AsyncIterator[list[Process]]:
    """Started and connected; ended at the end."""
    command = (sys.executable, "-m", "benchmarks.limits_instance", dsn)
    pipe = asyncio.subprocess.PIPE
    started = [
        Process(await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe))
        for _ in range(count)
    ]
    try:
        await asyncio.gather(*(one.do() for one in started))
        yield started
    finally:
        for one in started:
            if one.process.stdin is not None:
                one.process.stdin.close()
        for one in started:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(one.process.wait(), 10)
            if one.process.returncode is None:
                await one.kill()


async def every(found: Sequence[Process], *line: object) -> list[dict[str, float]]:
    """All do the same at once."""
    return list(await asyncio.gather(*(one.do(*line) for one in found)))


def total(told: Sequence[dict[str, float]], name: str) -> int:
    """The sum over all instances."""
    return int(sum(one.get(name, 0) for one in told))


async def spent(dsn: str) -> int:
    """Dollars, as Postgres has them."""
    connection = await asyncpg.connect(dsn)
    try:
        return int(await connection.fetchval("SELECT sum(spent_usd) FROM budget_usage"))
    finally:
        await connection.close()


async def budget(dsn: str, server: EmbeddedPostgres, count: int) -> list[str]:
    """1,000 requests at once against a budget for 100; then one instance is killed."""
    faults = []
    async with processes(dsn, count) as found:
        told = await every(found, "rush", 1000 // count, 10)
        print(
            f"budget for 100, 1,000 at once on {count}: {total(told, 'admitted')} admitted,", told
        )
        if total(told, "admitted") != _FITTING:
            faults.append("not exactly 100 were admitted")
        lost = 0
        if count > 1:
            # The one that runs most: what it reserved comes back when its lease is over, which a
            # start of Postgres begins anew.
            victim = max(range(count), key=lambda n: told[n].get("admitted", 0))
            lost = int(told[victim].get("admitted", 0))
            await found.pop(victim).kill()
        await every(found, "settle", 4)
        left = (1000 - 4 * (_FITTING - lost)) // 10
        pid = (_data(dsn) / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGKILL)
        await asyncio.to_thread(server.start)
        await asyncio.sleep(_LEASE_S)
        told = await every(found, "rush", 400 // count, 10)
        print(
            f"  one and Postgres killed: room for {left}, {total(told, 'admitted')} admitted,", told
        )
        if total(told, "admitted") != left:
            faults.append(f"not exactly {left} were admitted after the kills")
        await every(found, "settle", 10)
    paid = await spent(dsn)
    expected = 4 * (_FITTING - lost) + 10 * left
    print(f"  spent ${paid}, told by instances ${expected}")
    if paid != expected:
        faults.append("the budget's sum is not that of the costs")
    return faults


async def rate(dsn: str, count: int, seconds: float) -> list[str]:
    """600 a minute and a burst of 600."""
    async with processes(dsn, count) as found:
        told = await every(found, "rate", seconds, 120.0 / count)
    # A short run cannot ask for all of it.
    most = min(600 + 10 * seconds, 120 * seconds)
    admitted = total(told, "admitted")
    share = admitted / most
    print(f"600/min, {seconds:g} s on {count}: {admitted} of {most:g} ({share:.3f}),", told)
    return [] if _LEAST <= share <= 1.0 else ["the rate is not within [0.97, 1.00]"]


async def changes(dsn: str, count: int) -> list[str]:
    """How soon a revocation, and a limit set at run time, are in force on all instances."""
    store = Store(dsn, size=2)
    await store.open()
    keys = PostgresApiKeys(store, PostgresAuditLog(store, "bench"))
    administration = KeyAdministration(keys, Digester(PEPPER))
    limits = LimitAdministration(PostgresRateLimits(store, "bench"), list)
    key, secret = await administration.create(NewKey(KeyTerms("bench")), BY)
    everything = RateLimit("bench", "global", per_hour=1, burst=count * 2)
    faults = []
    async with processes(dsn, count) as found:
        waiting = asyncio.create_task(every(found, "until_refused", secret))
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await administration.revoke(key.id, BY)
        revoked_s = max(told["at"] for told in await waiting) - begun
        waiting = asyncio.create_task(every(found, "until_limited"))
        await asyncio.sleep(0.5)
        begun = time.monotonic()
        await limits.set(everything, BY)
        limited_s = max(told["at"] for told in await waiting) - begun
        await limits.remove("bench", BY)
    await store.close()
    for what, seconds in (("revocation", revoked_s), ("limit set at run time", limited_s)):
        print(f"{what}: in force on {count} after {seconds * 1000:.0f} ms")
        if not 0 < seconds <= 1:
            faults.append(f"a {what} took {seconds:.2f} s")
    return faults


async def cost(dsn: str) -> None:
    """CPU of what each request adds."""
    one = Instance(dsn)
    await one.start()
    for name, who in (("no limits", ANYONE), ("8 limits, key's and tenant's", EVERYTHING)):
        await one.cpu(2000, who)
        runs = [await one.cpu(4000, who) for _ in range(7)]
        print(f"CPU a request, {name}: {statistics.median(runs):.1f} us (least {min(runs):.1f})")
    print(f"  statements for 30,000 requests: {one.seen.statements}")
    await one.close()


async def run(count: int, seconds: float) -> int:
    """All of it; the exit status."""
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as directory:
        await asyncio.to_thread(Path(directory).chmod, 0o755)
        for instances in dict.fromkeys((1, count)):
            server = EmbeddedPostgres(Path(directory) / f"postgres-{instances}")
            dsn = await asyncio.to_thread(server.start)
            try:
                await migrate(dsn, _REPOSITORY / "migrations")
                faults += await budget(dsn, server, instances)
                faults += await rate(dsn, instances, seconds)
                faults += await changes(dsn, instances)
                if instances == count:
                    await cost(dsn)
            finally:
                await asyncio.to_thread(server.stop)
    for fault in faults:
        print("FAULT:", fault)
    return 1 if faults else 0


def _data(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--instances", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60.0, help="of load against the rate")
    chosen = parser.parse_args()
    begun = time.monotonic()
    status = asyncio.run(run(chosen.instances, chosen.seconds))
    print(f"{time.monotonic() - begun:.0f} s")
    sys.exit(status)
