"""An instance that spends, to be killed: `python -m ... DSN DIRECTORY NAME`.

Chats through the real pipeline by a key and a tenant with budgets, some of them streamed, failing
or left by their callers. Prints a line for each chat that ended; ends when its input does.
"""

import asyncio
import contextlib
import random
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeAlias

from ailb_server.access.bucket import LeaseRules
from ailb_server.access.leases import EngineRules, Leases
from ailb_server.domain.chat import ChatChunk, TokenUsage
from ailb_server.domain.errors import AilbError, UpstreamUnavailableError
from ailb_server.domain.principal import KeyLimits, Principal
from ailb_server.pipeline.accounting import Accounting
from ailb_server.pipeline.accounts import Accounts
from ailb_server.pipeline.admission import LimitedAdmission
from ailb_server.pipeline.chat import ChatPipeline
from ailb_server.pipeline.wishes import CallWishes
from ailb_server.spend.ledger import LedgerRules, UsageLedger
from ailb_server.spend.reservation import Pricing
from ailb_server.storage.limits import PostgresLimits
from ailb_server.storage.pool import Store
from ailb_server.storage.usage_journal import UsageJournal
from ailb_server.storage.usage_rows import PostgresUsageRows
from tests.integration.limits.conftest import Seen
from tests.unit.doubles import FakeProvider, chat, chunk
from tests.unit.pipeline.chats import PRICE, pipeline_over
from tests.unit.spend.test_ledger import Watching

Says: TypeAlias = Sequence[ChatChunk | Exception | float | None]

BUDGET = KeyLimits(monthly_budget_micro_dollars=1_000_000_000_000)
WHO = Principal(1, "default", 7, "spender", limits=BUDGET, tenant_limits=BUDGET)
RULES = LedgerRules(flush_every_s=0.05, first_pause_s=0.05, longest_pause_s=0.1)
END = replace(chunk("end", TokenUsage(prompt=30, completion=11)), wire=b"data: [DONE]\n\n")


async def one(pipeline: ChatPipeline, provider: FakeProvider, rng: random.Random) -> None:
    """A chat of some kind; none may end this process."""
    whole: Sequence[ChatChunk | Exception | float | None] = [
        chunk("a", TokenUsage(prompt=rng.randint(1, 99), completion=3))
    ]
    slow: Says = [chunk("a"), 0.002, END]
    cut: Says = [chunk("a"), chunk("b"), UpstreamUnavailableError("cut")]
    # Few cuts, or the target would be dark.
    (provider.says,) = rng.choices((whole, slow, cut), (10, 10, 1))
    stays = rng.random() < 0.7
    with contextlib.suppress(AilbError):
        request = chat(stream=rng.random() < 0.7, max_tokens=50)
        async with pipeline.open(request, CallWishes(who=WHO)) as answer:
            async for _ in answer.chunks:
                if not stays:
                    break


async def main(dsn: str, directory: str, name: str) -> None:
    """Spends until the input ends."""
    store = Store(dsn, size=3)
    await store.open()
    # Leases tell late: what a kill leaves untold is much.
    rules = LeaseRules(watch_s=2.0)
    leases = Leases(PostgresLimits(store, name, rules.ttl_s), Seen(), rules, EngineRules(tick_s=2))
    leases.start()
    journal = UsageJournal(Path(directory), name, 64 * 1024 * 1024)
    ledger = UsageLedger(journal, PostgresUsageRows(store), Watching(), RULES)
    ledger.start()
    admission = LimitedAdmission(Accounts(leases), leases, Pricing(), lambda _: [PRICE], Seen())
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin, ended.set)
    rng = random.Random(name)  # noqa: S311

    async def spend() -> None:
        provider = FakeProvider()
        pipeline = pipeline_over(Accounting(ledger, name), provider)
        pipeline = replace(pipeline, admission=admission)
        while not ended.is_set():
            await one(pipeline, provider, rng)
            sys.stdout.write(".\n")
            sys.stdout.flush()
            await asyncio.sleep(0.001)

    await asyncio.gather(*(spend() for _ in range(4)))
    await ledger.close()
    await leases.close()
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
