"""Postgres is killed while requests with limits run."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Literal

import pytest

from ailb_server.access.bucket import LeaseRules
from ailb_server.domain.errors import StorageUnavailableError
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.migrations import migrate
from tests.integration.limits.conftest import DOLLAR, answer_of, caller, instance, parted, settle
from tests.support.postgres import REPOSITORY, socket_directory, sql

RULES = LeaseRules(ttl_s=2.5, margin_s=0.5, renew_s=0.3)


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[tuple[EmbeddedPostgres, str]]:
    """A Postgres of one's own, which may be killed."""
    server = EmbeddedPostgres(tmp_path / "postgres", settings={"fsync": "off"})
    dsn = await asyncio.to_thread(server.start)
    await migrate(dsn, REPOSITORY / "migrations")
    try:
        yield server, dsn
    finally:
        await asyncio.to_thread(server.stop)


def kill(dsn: str) -> None:
    pid = (socket_directory(dsn) / "postmaster.pid").read_text().split()[0]
    os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize("outage", ["allow", "deny"])
async def test_what_is_leased_goes_on_then_the_setting_decides(
    mortal: tuple[EmbeddedPostgres, str], outage: Literal["allow", "deny"]
) -> None:
    (server, dsn), deny = mortal, outage == "deny"
    who = caller(
        requests_per_minute=60_000,
        max_concurrent=1000,
        monthly_budget_micro_dollars=100_000 * DOLLAR,
    )
    spent, kinds = 0, set[type]()
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(instance(dsn, rules=RULES, deny=deny))

        async def some(count: int) -> int:
            """Requests one after the other, 7 dollars each; how many ran."""
            nonlocal spent
            ran, refused = parted([await found.try_in(who, answer_of(10)) for _ in range(count)])
            kinds.update(type(error) for error in refused)
            for one in ran:
                settle(one, 7)
            spent += 7 * len(ran)
            return len(ran)

        assert await some(20) == 20
        await asyncio.sleep(0.02)
        assert await some(20) == 20
        await asyncio.to_thread(kill, dsn)
        assert await some(3) == 3
        assert found.seen.let_in == 0, "they ran on what was leased"
        async with asyncio.timeout(20):
            # Until nothing that was leased is left or good.
            ran = 1
            while found.seen.let_in < 100 and ran > 0:
                ran = await some(5)
                await asyncio.sleep(0.01)
        assert await some(50) == (0 if deny else 50)
        assert kinds == ({StorageUnavailableError} if deny else set())
        assert await asyncio.to_thread(server.start) == dsn
        async with asyncio.timeout(20):
            while not found.seen.up:
                await some(1)
                await asyncio.sleep(0.02)
        let_in = found.seen.let_in
        assert await some(20) == 20
        assert found.seen.let_in == let_in
    budget = sql(dsn, "SELECT spent_usd::int, reserved_usd::int, leased_usd::int FROM budget_usage")
    assert budget == f"{spent}|0|0", "every cost is told, also those of the outage"
