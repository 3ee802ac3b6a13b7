"""Postgres is killed while requests with limits run."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from ailb_server.access.bucket import LeaseRules
from ailb_server.domain.errors import AilbError, StorageUnavailableError
from ailb_server.local.postgres import EmbeddedPostgres
from ailb_server.storage.migrations import migrate
from tests.integration.limits.conftest import (
    DOLLAR,
    Instance,
    answer_of,
    caller,
    instance,
    parted,
    settle,
)
from tests.support.postgres import REPOSITORY, socket_directory, sql

RULES = LeaseRules(ttl_s=2.5, margin_s=0.5, renew_s=0.3)
WHO = caller(
    requests_per_minute=60_000,
    max_concurrent=1000,
    monthly_budget_micro_dollars=100_000 * DOLLAR,
)


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


@dataclass
class Shop:
    """Requests one after the other, seven dollars each."""

    found: Instance
    spent: int = 0
    refused: list[AilbError] = field(default_factory=list)

    async def some(self, count: int) -> int:
        """How many of them ran."""
        tries = [await self.found.try_in(WHO, answer_of(10)) for _ in range(count)]
        ran, refused = parted(tries)
        self.refused.extend(refused)
        for one in ran:
            settle(one, 7)
        self.spent += 7 * len(ran)
        return len(ran)

    async def until(self, over: Callable[[], bool]) -> None:
        async with asyncio.timeout(30):
            while not over():
                await self.some(2)
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("outage", ["allow", "deny"])
async def test_what_is_leased_goes_on_then_the_setting_decides(
    mortal: tuple[EmbeddedPostgres, str], outage: Literal["allow", "deny"]
) -> None:
    (server, dsn), deny = mortal, outage == "deny"
    async with instance(dsn, rules=RULES, deny=deny) as found:
        shop, seen = Shop(found), found.seen
        assert await shop.some(40) == 40
        await asyncio.to_thread(kill, dsn)
        assert await shop.some(3) == 3
        assert seen.let_in == 0, "they ran on what was leased"
        await shop.until(lambda: len(shop.refused) >= 100 or seen.let_in >= 100)
        await asyncio.sleep(RULES.ttl_s)
        assert await shop.some(50) == (0 if deny else 50)
        assert {type(error) for error in shop.refused} == (
            {StorageUnavailableError} if deny else set()
        )
        assert await asyncio.to_thread(server.start) == dsn
        await shop.until(lambda: seen.up)
        let_in = seen.let_in
        assert await shop.some(20) == 20
        assert seen.let_in == let_in
    told = sql(dsn, "SELECT spent_usd::int, reserved_usd::int, leased_usd::int FROM budget_usage")
    assert told == f"{shop.spent}|0|0", "every cost is told, also those of the outage"
